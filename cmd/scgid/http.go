package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"time"

	"github.com/scgid/scgid/activation"
	"github.com/scgid/scgid/worker/scgi"
)

// openFront serves HTTP on addr and speaks SCGI to the pool's own socket, as a
// web server would. It is for trying things out: it has no TLS, no files and
// no limits to speak of.
func openFront(addr string, to *activation.Socket, log logger) (*http.Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, hinted{fmt.Errorf("cannot serve HTTP: %w", err), "--http takes HOST:PORT, such as 127.0.0.1:8080, that is free"}
	}
	front := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       60 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		Handler:           sized(newProxy(to, log)),
	}
	log.Warn("serving HTTP for trying things out, not for production: put a web server in front", "on", "http://"+l.Addr().String()+"/")
	go func() {
		if err := front.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the HTTP front has ended", "err", err)
		}
	}()
	return front, nil
}

// newProxy passes requests on to the pool.
func newProxy(to *activation.Socket, log logger) http.Handler {
	return &httputil.ReverseProxy{
		// Else it leaves out of a query what it does not understand.
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.RawQuery = r.In.URL.RawQuery },
		Transport:     &scgi.Transport{Dial: dialer(to)},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				log.Warn("the HTTP front got no answer", "uri", r.RequestURI, "err", err)
			}
			http.Error(w, "The application gave no valid answer.", http.StatusBadGateway)
		},
	}
}

// frontBody bounds a body whose length nobody told, in bytes: SCGI wants the length
// first, so such a body lies in a file meanwhile.
const frontBody = 1 << 30

// sized has requests of unknown length read whole before they are passed on.
func sized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength >= 0 {
			next.ServeHTTP(w, r)
			return
		}
		spool, n, err := spooled(r.Body, frontBody)
		if err != nil {
			http.Error(w, "The request's body could not be kept until its length is known: "+err.Error()+".", http.StatusInternalServerError)
			return
		}
		defer spool.Close() // the proxy panics when its client has gone
		if n > frontBody {
			http.Error(w, "The request's body is longer than 1 GiB, and its length was not told.", http.StatusRequestEntityTooLarge)
			return
		}
		r.Body, r.ContentLength, r.TransferEncoding = spool, n, nil
		next.ServeHTTP(w, r)
	})
}

// spooled puts a body into a file without a name, up to one byte more than most.
func spooled(body io.Reader, most int64) (*os.File, int64, error) {
	f, err := os.CreateTemp("", "scgid-body-")
	if err != nil {
		return nil, 0, err
	}
	os.Remove(f.Name())
	n, err := io.Copy(f, io.LimitReader(body, most+1))
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, n, nil
}

// dialer connects to a socket of ours.
func dialer(to *activation.Socket) func(context.Context) (net.Conn, error) {
	network, addr := "tcp", to.Addr()
	if to.Unix() {
		network = "unix"
	} else {
		addr = strings.NewReplacer("0.0.0.0:", "127.0.0.1:", "[::]:", "[::1]:").Replace(addr)
	}
	var d net.Dialer
	return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, network, addr) }
}
