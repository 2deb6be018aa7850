package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
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
	transport := &scgi.Transport{Dial: dialer(to)}
	front := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       60 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		Handler: &httputil.ReverseProxy{
			// Else it leaves out of a query what it does not understand.
			Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.RawQuery = r.In.URL.RawQuery },
			Transport:     transport,
			FlushInterval: -1,
			ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
				if r.Context().Err() == nil {
					log.Warn("the HTTP front got no answer", "uri", r.RequestURI, "err", err)
				}
				http.Error(w, "The application gave no valid answer.", http.StatusBadGateway)
			},
		},
	}
	log.Warn("serving HTTP for trying things out, not for production: put a web server in front", "on", "http://"+l.Addr().String()+"/")
	go func() {
		if err := front.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the HTTP front has ended", "err", err)
		}
	}()
	return front, nil
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
