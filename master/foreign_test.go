package master

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

// Whoever points the wrong directive at the socket is told which one, once a
// minute, and sees it in the status.
func TestWhatIsNoRequestIsNamed(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", oneWorker)
	r.idle(1)
	for _, tt := range []struct{ kind, sent, says string }{
		{"http", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "proxy_pass"},
		{"tls", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "https://"},
		{"fastcgi", "\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", "fastcgi_pass"},
		{"uwsgi", "\x00\x13\x00\x00\x0e\x00REQUEST_METHOD\x03\x00GET", "uwsgi_pass"},
		{"proxy", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", "PROXY protocol"},
		{"no-request", "17:CONTENT_LENGTH\x000\x00,", "include scgi_params"},
	} {
		for range 3 {
			c := r.dial()
			io.WriteString(c, tt.sent)
			refused(t, c)
		}
		r.until(tt.kind+" is counted", func(s control.Status, _ Counters) bool {
			for _, f := range s.Foreign {
				if f.Kind == tt.kind {
					return f.Count == 3 && strings.Contains(f.Text, tt.says)
				}
			}
			return false
		})
		r.logs(tt.says)
		if n := strings.Count(r.log.String(), tt.says); n != 1 {
			t.Errorf("%s is told %d times", tt.kind, n)
		}
	}
	r.skip(time.Minute)
	c := r.dial()
	io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
	if text := refused(t, c); !strings.HasPrefix(text, "HTTP/1.0 400 Bad Request\r\n") || !strings.Contains(text, "scgi_pass") {
		t.Errorf("who speaks HTTP gets %q", text)
	}
	r.until("told again", func(control.Status, Counters) bool { return strings.Count(r.log.String(), "proxy_pass") == 2 })
	if got := r.counters(); got.Malformed != 19 || got.Served != 0 {
		t.Errorf("%+v", got)
	}
	r.get("/pid")
}

// refused reads a reply of 400.
func refused(t *testing.T, c net.Conn) string {
	t.Helper()
	text, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(text), "Status: 400 Bad Request\r\n") {
		t.Errorf("got %q, %v", text, err)
	}
	c.Close()
	return string(text)
}
