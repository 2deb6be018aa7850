package webserver_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// begins starts each web server with its example and the changes a test needs.
var begins = []struct {
	kind  string
	begin func(testing.TB, ...swap) *front
	// What the example says for an application below /wiki.
	prefix []swap
}{
	{"nginx", nginxWith, []swap{{"#location /wiki/ {", "location /wiki/ {"}, {"location / {", "location /other/ {"}}},
	{"apache", apache, []swap{{"ProxyPass \"/\" \"unix", "#ProxyPass \"/\" \"unix"}, {"#ProxyPass \"/wiki/\"", "ProxyPass \"/wiki/\""}}},
	{"lighttpd", lighttpd, []swap{{`"/" => ((`, `"/wiki/" => ((`}}},
}

func nginxWith(t testing.TB, swaps ...swap) *front {
	return nginx(t, "nginx/scgid-site.conf", swaps...)
}

func TestApplicationBelowPrefix(t *testing.T) {
	needModule(t, "flask")
	p := startPool(t, place(t), "wiki", nil, python(t), "scgi-wsgi", "--mount", "/wiki", "flask_app:application")
	for _, b := range begins {
		t.Run(b.kind, func(t *testing.T) {
			f := b.begin(t, append([]swap{{exampleSock, p.sock}}, b.prefix...)...)
			s := &site{t: t, client: newClient(t), front: f, pool: p}
			m := s.object(s.get("/wiki/path/caf%C3%A9/x?q=1"))
			if m["SCRIPT_NAME"] != "/wiki" || m["text"] != "/path/café/x" || m["QUERY_STRING"] != "q=1" {
				t.Errorf("SCRIPT_NAME %q, PATH_INFO %q, QUERY_STRING %q", m["SCRIPT_NAME"], m["PATH_INFO"], m["QUERY_STRING"])
			}
			if r := s.get("/wikipedia/path/x"); r.StatusCode != 404 {
				t.Errorf("/wikipedia: got %d %.200q", r.StatusCode, r.text)
			}
		})
	}
}

// nginx asks the second host when the first does not answer.
func TestNginxTurnsToTheBackup(t *testing.T) {
	needModule(t, "flask")
	first := startPool(t, place(t), "first", nil, python(t), "scgi-wsgi", "flask_app:application")
	second := startPool(t, place(t), "second", nil, python(t), "scgi-wsgi", "flask_app:application")
	s := &site{t: t, client: newClient(t)}
	s.front = nginxWith(t, swap{"#upstream wiki", "upstream wiki"}, swap{"scgi_pass unix:" + exampleSock, "scgi_pass wiki"},
		swap{"unix:" + exampleSock, "unix:" + first.sock}, swap{"192.0.2.7:4000", "unix:" + second.sock})
	if m := s.object(s.get("/env")); m["scgid.pool"] != "first" {
		t.Errorf("answered by %v", m["scgid.pool"])
	}
	first.stop(syscall.SIGTERM)
	for range 5 {
		if m := s.object(s.get("/env")); m["scgid.pool"] != "second" {
			t.Errorf("after the end of the first: answered by %v", m["scgid.pool"])
		}
	}
}

// What a web server sends with our example is SCGI, and holds nothing of a Proxy:
// header nor of the transfer coding that it has undone.
func TestProxyHeaderEndsAtTheWebServer(t *testing.T) {
	for _, b := range begins {
		t.Run(b.kind, func(t *testing.T) {
			sock := filepath.Join(place(t), "wiki.sock")
			l, err := net.Listen("unix", sock)
			must(t, err)
			t.Cleanup(func() { l.Close() })
			must(t, os.Chmod(sock, 0o666))
			s := &site{t: t, client: newClient(t), front: b.begin(t, swap{exampleSock, sock})}
			blocks := make(chan string, 1)
			go func() { blocks <- answerOne(l) }()
			request := "POST /a?b HTTP/1.1\r\nHost: wiki.example.org\r\nProxy: http://evil.example.org\r\nConnection: close\r\n"
			if b.kind == "apache" {
				request += "Content-Length: 5\r\n\r\nhello"
			} else {
				request += "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
			}
			s.want(s.raw("POST", request), 200, "ok\n")
			vars := "\x00" + <-blocks
			for _, want := range []string{"\x00SCGI\x001\x00", "\x00CONTENT_LENGTH\x005\x00", "\x00REQUEST_URI\x00/a?b\x00"} {
				if !strings.Contains(vars, want) {
					t.Errorf("no %q in %q", want, vars)
				}
			}
			for _, not := range []string{"\x00HTTP_PROXY\x00", "\x00HTTP_TRANSFER_ENCODING\x00"} {
				if strings.Contains(vars, not) {
					t.Errorf("there is %q in %q", not, vars)
				}
			}
		})
	}
}

// answerOne takes one SCGI request with a body of 5 bytes, answers it and returns
// its header block, or what was wrong.
func answerOne(l net.Listener) string {
	c, err := l.Accept()
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	in := bufio.NewReader(c)
	size, err := in.ReadString(':')
	if err != nil {
		return err.Error()
	}
	block := make([]byte, atoi(strings.TrimSuffix(size, ":"))+1+5)
	if _, err := io.ReadFull(in, block); err != nil {
		return err.Error()
	}
	fmt.Fprint(c, "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nok\n")
	return string(block[:len(block)-6])
}
