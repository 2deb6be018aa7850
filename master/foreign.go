package master

import "github.com/scgid/scgid/worker/scgi"

// noRequest is beside the protocols: SCGI, but the header has neither a method
// nor a URI.
const (
	noRequest = scgi.Protocols
	foreigns  = scgi.Protocols + 1
)

// foreignWords are the names of what comes from a web server that is set up
// wrongly, and what the log says of each, once a minute.
var foreignWords = [foreigns]struct{ name, text string }{
	scgi.HTTP:    {"http", "an HTTP request came to the SCGI socket and was refused: is proxy_pass in the web server's configuration where scgi_pass is meant?"},
	scgi.TLS:     {"tls", "a TLS handshake came to the SCGI socket and was refused: is an https:// address in the web server's configuration where scgi_pass is meant?"},
	scgi.FastCGI: {"fastcgi", "a FastCGI request came to the SCGI socket and was refused: is fastcgi_pass in the web server's configuration where scgi_pass is meant?"},
	scgi.UWSGI:   {"uwsgi", "a request in the uwsgi format came to the SCGI socket and was refused: is uwsgi_pass in the web server's configuration where scgi_pass is meant?"},
	scgi.Proxy:   {"proxy", "the PROXY protocol came to the SCGI socket and was refused: switch it off in the load balancer (send-proxy, proxy_protocol)"},
	noRequest:    {"no-request", "a request with neither REQUEST_METHOD nor REQUEST_URI was refused: is \"include scgi_params;\" missing beside scgi_pass?"},
}

// A foreign counts what a web server sends that is set up wrongly.
type foreign struct {
	Count uint64
	At    Time // of the last
}

// strange notes what came instead of a request, and has it told.
func (l *loop) strange(kind scgi.Protocol) {
	if kind == scgi.NotForeign {
		return
	}
	l.alerts.Foreign[kind].Count++
	l.alerts.Foreign[kind].At = l.now
	l.warnRateLimited(warnForeign+warning(kind), foreignWords[kind].text)
}
