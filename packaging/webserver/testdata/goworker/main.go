// Command goworker is a worker in Go that does with a request's body what web
// servers bear least: it replies before it has read it.
package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"

	"github.com/scgid/scgid/worker"
)

func main() {
	http.HandleFunc("/ignore", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20))
	})
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})
	http.HandleFunc("/early", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(w, r.Body)
	})
	if err := worker.Serve(context.Background(), nil); err != nil {
		log.Fatal(err)
	}
}
