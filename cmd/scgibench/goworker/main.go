// Command goworker is the program in Go that scgibench compare sets beside
// others: a worker of scgid that says hello.
//
// It is for measuring only and is not installed. /sleep takes 50 ms and says
// which process has answered and when it began.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/scgid/scgid/worker"
)

func main() {
	hello := []byte("Hello from scgibench")
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", "20")
		w.Write(hello)
	})
	http.HandleFunc("/sleep", func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		io.Copy(io.Discard, r.Body)
		time.Sleep(50 * time.Millisecond)
		fmt.Fprintf(w, "%d %d", os.Getpid(), begin.UnixNano())
	})
	if err := worker.Serve(context.Background(), nil); err != nil {
		log.Fatal(err)
	}
}
