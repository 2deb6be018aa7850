package scgi

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func checkVars(t *testing.T, vars []Var, want map[string]string, absent ...string) {
	t.Helper()
	h := Header(vars)
	for name, v := range want {
		if got, ok := h.Lookup(name); got != v || !ok {
			t.Errorf("%s = %q, %v; want %q", name, got, ok, v)
		}
	}
	for _, name := range absent {
		if got, ok := h.Lookup(name); ok {
			t.Errorf("%s = %q, want none", name, got)
		}
	}
}

func TestVarsOfAReceivedRequest(t *testing.T) {
	r := httptest.NewRequest("POST", "/wiki/Front%20Page?x=1&y=%2F", strings.NewReader("a=b"))
	r.Host = "www.example.org:8080"
	r.RemoteAddr = "[2001:db8::1]:4711"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Content-Length", "3")
	r.Header.Set("X-Two-Words", "1")
	r.Header.Add("X-Two-Words", "2")
	r.Header["Cookie"] = []string{"a=1", "b=2"}
	checkVars(t, Vars(r), map[string]string{
		"REQUEST_METHOD": "POST", "REQUEST_URI": "/wiki/Front%20Page?x=1&y=%2F", "QUERY_STRING": "x=1&y=%2F",
		"CONTENT_TYPE": "application/x-www-form-urlencoded", "SERVER_PROTOCOL": "HTTP/1.1",
		"SERVER_NAME": "www.example.org", "SERVER_PORT": "8080", "REMOTE_ADDR": "2001:db8::1", "REMOTE_PORT": "4711",
		"REQUEST_SCHEME": "http", "DOCUMENT_URI": "/wiki/Front Page", "SCRIPT_NAME": "", "PATH_INFO": "/wiki/Front Page",
		"HTTP_HOST": "www.example.org:8080", "HTTP_X_TWO_WORDS": "1, 2", "HTTP_COOKIE": "a=1; b=2",
	}, "HTTPS", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "CONTENT_LENGTH", "SCGI")
}

func TestVarsLeaveOutWhatDoesHarm(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{
		"Proxy": {"http://evil.example/"}, "proxy": {"http://evil.example/"}, "Connection": {"close, X-Hop", "x-other"}, "X-Hop": {"1"}, "X-Other": {"1"},
		"Keep-Alive": {"1"}, "Te": {"trailers"}, "Trailer": {"X"}, "Transfer-Encoding": {"chunked"}, "Upgrade": {"h2c"},
		"Proxy-Authorization": {"x"}, "Proxy-Connection": {"x"}, "X_Forwarded_For": {"10.0.0.1"}, "X.Y": {"1"}, "X-Y": {"kept"},
	}
	checkVars(t, Vars(r), map[string]string{"HTTP_X_Y": "kept"},
		"HTTP_PROXY", "HTTP_CONNECTION", "HTTP_X_HOP", "HTTP_X_OTHER", "HTTP_KEEP_ALIVE", "HTTP_TE", "HTTP_TRAILER",
		"HTTP_TRANSFER_ENCODING", "HTTP_UPGRADE", "HTTP_PROXY_AUTHORIZATION", "HTTP_PROXY_CONNECTION", "HTTP_X_FORWARDED_FOR", "HTTP_X.Y")
}

func TestVarsOfTheServersAddress(t *testing.T) {
	local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 8080}
	for _, tt := range []struct {
		name, host, wantName, wantPort, https string
		tls                                   bool
	}{
		{name: "port", host: "h:81", wantName: "h", wantPort: "81"},
		{name: "no port", host: "h", wantName: "h", wantPort: "80"},
		{name: "TLS", host: "h", wantName: "h", wantPort: "443", tls: true, https: "on"},
		{name: "IPv6", host: "[::1]:81", wantName: "::1", wantPort: "81"},
		{name: "IPv6, no port", host: "[::1]", wantName: "::1", wantPort: "80"},
		{name: "no Host", wantName: "192.0.2.1", wantPort: "8080"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
		r.Host, r.URL.Host = tt.host, ""
		scheme := "http"
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
			scheme = "https"
		}
		vars := Vars(r)
		checkVars(t, vars, map[string]string{"SERVER_NAME": tt.wantName, "SERVER_PORT": tt.wantPort, "REQUEST_SCHEME": scheme})
		if v, ok := Header(vars).Lookup("HTTPS"); v != tt.https || ok != tt.tls {
			t.Errorf("%s: HTTPS %q, %v", tt.name, v, ok)
		}
	}
}

func TestVarsKeepTheRequestTarget(t *testing.T) {
	for target, want := range map[string]string{
		"/a%2Fb//c;d/../e?q":           "/a%2Fb//c;d/../e?q",
		"http://example.org/a%2Fb?q=%": "/a%2Fb?q=%",
		"//double/slash":               "//double/slash",
		"*":                            "*",
	} {
		method := "GET"
		if target == "*" {
			method = "OPTIONS"
		}
		r := httptest.NewRequest(method, "/", nil)
		r.RequestURI = target
		if u, err := r.URL.Parse(target); err == nil && strings.HasPrefix(target, "http") {
			r.URL = u
		}
		checkVars(t, Vars(r), map[string]string{"REQUEST_URI": want})
	}
}

func TestVarsOfAClientsRequest(t *testing.T) {
	r, err := http.NewRequest("", "https://example.org?q=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	checkVars(t, Vars(r), map[string]string{
		"REQUEST_METHOD": "GET", "REQUEST_URI": "/?q=1", "PATH_INFO": "/", "DOCUMENT_URI": "/", "QUERY_STRING": "q=1",
		"SERVER_NAME": "example.org", "SERVER_PORT": "443", "HTTPS": "on", "HTTP_HOST": "example.org", "CONTENT_TYPE": "",
	}, "REMOTE_ADDR", "REMOTE_PORT")
}
