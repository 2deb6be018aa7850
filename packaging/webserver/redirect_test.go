package webserver_test

import (
	"os"
	"path/filepath"
	"testing"
)

// A CGI program's Location that begins with a slash and has no status is
// followed by the web server in one place and by the client in another; with
// --absolute-redirects it is the client's affair behind each.
func TestRedirectsOfCGIPrograms(t *testing.T) {
	program := filepath.Join(place(t), "go.sh")
	must(t, os.WriteFile(program, []byte("#!/bin/sh\ncase $QUERY_STRING in\n"+
		"go) printf 'Location: /page\\n\\n';;\n"+
		"200) printf 'Status: 200 OK\\nLocation: /page\\nContent-Type: text/plain\\n\\nhere\\n';;\n"+
		"*) printf 'Content-Type: text/plain\\n\\nthe page\\n';;\nesac\n"), 0o755))
	for _, b := range begins {
		t.Run(b.kind, func(t *testing.T) {
			s := &site{t: t, client: newClient(t), pool: cgi(t, "go", program)}
			s.front = b.begin(t, swap{exampleSock, s.pool.sock})
			if b.kind == "apache" { // it goes there itself
				s.want(s.get("/x?go"), 200, "the page\n")
				s.want(s.get("/x?200"), 200, "the page\n")
				return
			}
			s.sentTo("/x?go", 302, "/page")
			s.sentTo("/x?200", 200, "/page")
		})
		t.Run(b.kind+" absolute", func(t *testing.T) {
			s := &site{t: t, client: newClient(t), pool: cgi(t, "go", "--absolute-redirects", program)}
			s.front = b.begin(t, swap{exampleSock, s.pool.sock})
			to := s.front.url("/page")
			if b.kind == "nginx" { // Debian's scgi_params tell no port
				to = "http://127.0.0.1/page"
			}
			s.sentTo("/x?go", 302, to)
			s.sentTo("/x?200", 200, to)
		})
	}
}

// sentTo wants a reply with this status and Location.
func (s *site) sentTo(path string, code int, location string) {
	s.t.Helper()
	r := s.get(path)
	if got := r.Header.Get("Location"); r.StatusCode != code || got != location {
		s.t.Errorf("%s: got %d to %q, want %d to %q", path, r.StatusCode, got, code, location)
	}
}
