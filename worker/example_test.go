package worker_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/scgid/scgid/worker"
)

// A whole worker. As main of ./hello it is tried out by
//
//	scgid run --http 127.0.0.1:8080 -- ./hello
//
// Without a master it ends with link.ErrNoMaster.
func Example() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s by worker %s\n", r.URL.Path, os.Getenv("SCGID_WORKER"))
	})
	if err := worker.Serve(context.Background(), nil); err != nil {
		log.Fatal(err)
	}
}
