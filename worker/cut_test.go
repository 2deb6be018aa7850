package worker

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A reply that ends before its end is said to: to the master, and to a client on
// TCP, which sees a reset.
func TestAReplyThatIsCutIsSaidToBe(t *testing.T) {
	part := func(w http.ResponseWriter, length string) {
		if length != "" {
			w.Header().Set("Content-Length", length)
		}
		io.WriteString(w, "part")
		w.(http.Flusher).Flush()
	}
	for name, test := range map[string]struct {
		h   http.HandlerFunc
		cut bool
	}{
		"panic":                     {func(w http.ResponseWriter, _ *http.Request) { part(w, ""); panic("on purpose") }, true},
		"aborted":                   {func(w http.ResponseWriter, _ *http.Request) { part(w, ""); panic(http.ErrAbortHandler) }, true},
		"shorter than stated":       {func(w http.ResponseWriter, _ *http.Request) { part(w, "9") }, true},
		"shorter than stated, file": {func(w http.ResponseWriter, _ *http.Request) { part(w, "9"); io.Copy(w, strings.NewReader("x")) }, true},
		"whole, then a panic":       {func(w http.ResponseWriter, _ *http.Request) { part(w, "4"); panic("on purpose") }, false},
		"a panic before":            {func(http.ResponseWriter, *http.Request) { panic("on purpose") }, false},
		"whole":                     {func(w http.ResponseWriter, _ *http.Request) { part(w, "") }, false},
		"no body":                   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := serve(t, test.h, quiet)
			for _, network := range []string{"unix", "tcp"} {
				c, id := m.dial(network)
				if _, err := c.Write(request("/", "")); err != nil {
					t.Fatal(err)
				}
				_, err := io.ReadAll(c)
				if reset := errors.Is(err, unix.ECONNRESET); reset != (test.cut && network == "tcp") {
					t.Errorf("%s: the client got %v", network, err)
				}
				c.Close()
				if done := m.done(id); done.Cut != test.cut {
					t.Errorf("%s: cut is %v", network, done.Cut)
				}
			}
		})
	}
}
