package webserver_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// checks are the same for every application behind every web server. Where these
// differ, the check says so.
var checks = []struct {
	name string
	run  func(*testing.T, *site)
}{
	{"form by GET", checkFormGet},
	{"form by POST", checkFormPost},
	{"form with files", checkMultipart},
	{"upload of 10 MiB", checkUpload},
	{"upload by PUT", checkPut},
	{"upload in halves", checkUploadInHalves},
	{"chunked upload", checkChunked},
	{"too large an upload", checkTooLarge},
	{"body left unread", checkUnread},
	{"body read during the reply", checkEcho},
	{"streaming", checkStreaming},
	{"download of 10 MiB", checkDownload},
	{"download of 100 MiB", checkFile},
	{"cookies", checkCookies},
	{"session", checkSession},
	{"large headers", checkLargeHeaders},
	{"redirects", checkRedirects},
	{"local redirect", checkLocalRedirect},
	{"errors", checkErrors},
	{"HEAD", checkHead},
	{"replies without body", checkBodiless},
	{"paths", checkPaths},
	{"escaped slash", checkEscapedSlash},
	{"query strings", checkQuery},
	{"authorization", checkAuthorization},
	{"addresses and names", checkAddresses},
	{"headers that lie", checkLies},
	{"TLS", checkTLS},
	{"keep-alive", checkKeepAlive},
	{"slow client", checkSlowClient},
	{"client that leaves", checkLeaver},
	{"many at a time", checkParallel},
}

func checkFormGet(t *testing.T, s *site) {
	m := s.object(s.get("/form?name=J%C3%BCrgen&sum=1%2B1&space=a+b&empty="))
	s.same(m["query"], `{"empty":"","name":"Jürgen","space":"a b","sum":"1+1"}`)
}

func checkFormPost(t *testing.T, s *site) {
	m := s.object(s.do("POST", "/form?q=1", "name=J%C3%BCrgen&text=two%0D%0Alines",
		"Content-Type", "application/x-www-form-urlencoded"))
	s.same(m["form"], `{"name":"Jürgen","text":"two\r\nlines"}`)
	s.same(m["query"], `{"q":"1"}`)
	m = s.object(s.do("POST", "/form", "", "Content-Type", "application/x-www-form-urlencoded"))
	s.same(m["form"], `{}`)
}

func checkMultipart(t *testing.T, s *site) {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	must(t, w.WriteField("title", "Übersicht"))
	for name, data := range map[string][]byte{"small": []byte("a\r\n--b\r\n"), "large": blocks(3 * mib)} {
		part, err := w.CreateFormFile(name, name+" ü.bin")
		must(t, err)
		part.Write(data)
	}
	must(t, w.Close())
	m := s.object(s.do("POST", "/form", body.String(), "Content-Type", w.FormDataContentType()))
	s.same(m["form"], `{"title":"Übersicht"}`)
	want := `{"large":{"name":"large ü.bin","sha256":"` + sum(blocks(3*mib)) + `","size":3145728},` +
		`"small":{"name":"small ü.bin","sha256":"` + sum("a\r\n--b\r\n") + `","size":8}}`
	s.same(m["files"], want)
}

// took checks the answer of /take.
func (s *site) took(r *reply, body string) {
	s.t.Helper()
	s.same(s.object(r), fmt.Sprintf(`{"sha256":"%s","size":%d}`, sum(body), len(body)))
}

func checkUpload(t *testing.T, s *site) {
	body := string(blocks(10 * mib))
	s.took(s.do("POST", "/take", body), body)
	s.took(s.do("POST", "/take", "x"), "x")
	s.took(s.do("POST", "/take", ""), "")
}

func checkPut(t *testing.T, s *site) {
	s.took(s.do("PUT", "/take", "0123456789"), "0123456789")
}

// The body comes in halves. Behind Apache and, below /upload/, lighttpd the
// application has begun to read before the client has sent the rest; nginx keeps
// the first half for itself.
func checkUploadInHalves(t *testing.T, s *site) {
	k := s.talk()
	body := string(blocks(mib))
	c := s.dial()
	fmt.Fprintf(c, "POST /upload/take?token=%s HTTP/1.1\r\nHost: wiki.example.org\r\nContent-Length: %d\r\n\r\n", k.token, len(body))
	_, err := io.WriteString(c, body[:len(body)/2])
	must(t, err)
	if s.front.kind != "nginx" {
		k.hear("begun")
	}
	s.ok("/pid")
	_, err = io.WriteString(c, body[len(body)/2:])
	must(t, err)
	s.took(s.readReply(bufio.NewReader(c), "POST"), body)
}

// Apache refuses a body without a length, the others find the length out.
func checkChunked(t *testing.T, s *site) {
	r := s.raw("POST", "POST /take HTTP/1.1\r\nHost: wiki.example.org\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
	if s.front.kind == "apache" {
		s.want(r, 411, "")
		s.ok("/pid")
		return
	}
	s.took(r, "hello world")
}

// The examples allow 20 MiB. The answer comes before the body.
func checkTooLarge(t *testing.T, s *site) {
	r := s.raw("POST", "POST /take HTTP/1.1\r\nHost: wiki.example.org\r\nContent-Length: 20971521\r\n\r\n")
	s.want(r, 413, "")
}

// The reply arrives although the application has read nothing of the body: a
// close on unread bytes would take it back.
func checkUnread(t *testing.T, s *site) {
	for range 5 {
		s.want(s.do("POST", "/early", string(blocks(4*mib))), 200, "early\n")
	}
}

// The application begins its reply before it reads the body. Apache reads no reply
// before it has sent the whole body; nginx sends no more of the body once it has
// seen a reply.
func checkEcho(t *testing.T, s *site) {
	for _, size := range []int{kib, mib, 10 * mib} {
		body := string(blocks(size))
		r := s.do("POST", "/echo", body)
		if r.StatusCode != 200 || sum(r.text) != sum("echo:"+body) {
			t.Fatalf("%d bytes: got %d with %d bytes", size, r.StatusCode, len(r.text))
		}
	}
}

// The first half is here while the application waits for us to say so.
func checkStreaming(t *testing.T, s *site) {
	k := s.talk()
	r, err := s.client.Get(s.front.url("/stream?token=" + k.token))
	must(t, err)
	defer r.Body.Close()
	first := make([]byte, len("first\n"))
	_, err = io.ReadFull(r.Body, first)
	must(t, err)
	k.release(1)
	rest, err := io.ReadAll(r.Body)
	must(t, err)
	if got := string(first) + string(rest); got != "first\nsecond\n" {
		t.Errorf("got %q", got)
	}
}

func checkDownload(t *testing.T, s *site) {
	want := blocks(10 * mib)
	for _, path := range []string{"/bytes?size=10485760", "/bytes?size=10485760&flow=1"} {
		r := s.get(path)
		s.want(r, 200, "")
		if sum(r.text) != sum(want) {
			t.Errorf("%s: got %d bytes, other than what was sent", path, len(r.text))
		}
		if r.ContentLength != 10*mib && s.front.kind != "apache" { // it trusts no length of an application's
			t.Errorf("%s: Content-Length is %d", path, r.ContentLength)
		}
	}
}

func checkFile(t *testing.T, s *site) {
	code, n, checksum := s.download("/file")
	if code != 200 || n != 100*mib || checksum != large.sum {
		t.Errorf("got %d, %d bytes, with the right checksum: %t", code, n, checksum == large.sum)
	}
}

func checkCookies(t *testing.T, s *site) {
	r := s.get("/cookies", "Cookie", "a=1; b=two words; c=%C3%BC")
	s.same(s.object(r), `{"a":"1","b":"two words","c":"%C3%BC"}`)
	if got := r.Header.Values("Set-Cookie"); len(got) != 3 {
		t.Errorf("got %d cookies: %q", len(got), got)
	}
}

func checkSession(t *testing.T, s *site) {
	jar := s.withJar()
	for i := 1; i <= 3; i++ {
		jar.want(jar.get("/visits"), 200, fmt.Sprint(i))
	}
	s.want(s.get("/visits"), 200, "1")
}

// 8 KiB of cookie in the request, and in the reply.
func checkLargeHeaders(t *testing.T, s *site) {
	value := strings.Repeat("v", 8*kib)
	r := s.get("/cookies?long=7000", "Cookie", "big="+value)
	s.same(s.object(r), `{"big":"`+value+`"}`)
	for _, c := range r.Cookies() {
		if c.Name == "long" && len(c.Value) == 7000 {
			return
		}
	}
	t.Errorf("the large cookie is not in the reply")
}

func checkRedirects(t *testing.T, s *site) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{"/pid?x=1", "pid", "http://other.example.org/a?b#c"} {
			r := s.get(fmt.Sprintf("/redirect?code=%d&to=%s", code, strings.NewReplacer("?", "%3F", "#", "%23").Replace(to)))
			if r.StatusCode != code || r.Header.Get("Location") != to || r.text != "moved\n" {
				t.Errorf("%d to %s: got %d to %s with %.200q", code, to, r.StatusCode, r.Header.Get("Location"), r.text)
			}
		}
	}
	r := s.do("POST", "/redirect?code=303&to=/pid", "a=1")
	if r.StatusCode != 303 || r.Header.Get("Location") != "/pid" {
		t.Errorf("after a POST: got %d to %s", r.StatusCode, r.Header.Get("Location"))
	}
}

// A 200 with a Location: Apache goes there itself, the others pass it on.
func checkLocalRedirect(t *testing.T, s *site) {
	r := s.get("/redirect?code=200&to=/status/404")
	if s.front.kind == "apache" {
		s.want(r, 404, "status 404\n")
		return
	}
	s.want(r, 200, "moved\n")
	if got := r.Header.Get("Location"); got != "/status/404" {
		t.Errorf("Location is %q", got)
	}
}

func checkErrors(t *testing.T, s *site) {
	for _, code := range []int{400, 403, 404, 410, 418, 500, 503} {
		s.want(s.get(fmt.Sprintf("/status/%d", code)), code, fmt.Sprintf("status %d\n", code))
	}
	s.want(s.get("/nowhere"), 404, "")
	s.want(s.get("/boom"), 500, "")
}

func checkHead(t *testing.T, s *site) {
	for _, path := range []string{"/pid", "/bytes?size=1048576", "/file", "/status/404"} {
		r := s.do("HEAD", path, "")
		want := 200
		if strings.HasSuffix(path, "404") {
			want = 404
		}
		if r.StatusCode != want || r.text != "" || r.Header.Get("Content-Type") == "" {
			t.Errorf("%s: got %d with %d bytes and %v", path, r.StatusCode, len(r.text), r.Header)
		}
	}
	if r := s.do("HEAD", "/bytes?size=1048576", ""); s.front.kind != "apache" && r.ContentLength != mib {
		t.Errorf("Content-Length is %d", r.ContentLength)
	}
}

// What follows on the same connection must not be taken for a body.
func checkBodiless(t *testing.T, s *site) {
	c := s.dial()
	in := bufio.NewReader(c)
	for _, code := range []int{204, 304, 204} {
		fmt.Fprintf(c, "GET /status/%d HTTP/1.1\r\nHost: wiki.example.org\r\n\r\n", code)
		r := s.readReply(in, "GET")
		if r.StatusCode != code || r.text != "" || r.Header.Get("Content-Type") != "" {
			t.Errorf("%d: got %d %q %v", code, r.StatusCode, r.text, r.Header)
		}
	}
	fmt.Fprint(c, "GET /status/200 HTTP/1.1\r\nHost: wiki.example.org\r\n\r\n")
	s.want(s.readReply(in, "GET"), 200, "status 200\n")
}

func checkPaths(t *testing.T, s *site) {
	for path, want := range map[string]string{
		"/path/caf%C3%A9/%E2%82%AC": "/path/café/€",
		"/path/a%20b+c%25d":         "/path/a b+c%d",
		"/path/a%3Fb%23c":           "/path/a?b#c",
		"/path/a;b=c,d":             "/path/a;b=c,d",
		"/path/x/../y":              "/path/y",
		"/path/end/":                "/path/end/",
	} {
		m := s.object(s.raw("GET", "GET "+path+" HTTP/1.1\r\nHost: wiki.example.org\r\n\r\n"))
		if m["text"] != want || m["SCRIPT_NAME"] != "" || m["REQUEST_URI"] != path {
			t.Errorf("%s: text %q, SCRIPT_NAME %q, PATH_INFO %q, REQUEST_URI %q",
				path, m["text"], m["SCRIPT_NAME"], m["PATH_INFO"], m["REQUEST_URI"])
		}
	}
}

// As Apache's example is written the application sees %2F, elsewhere a slash.
func checkEscapedSlash(t *testing.T, s *site) {
	want := "/path/a/b"
	if s.front.kind == "apache" {
		want = "/path/a%2Fb"
	}
	m := s.object(s.get("/path/a%2Fb"))
	if m["text"] != want || m["REQUEST_URI"] != "/path/a%2Fb" {
		t.Errorf("text %q, REQUEST_URI %q", m["text"], m["REQUEST_URI"])
	}
}

func checkQuery(t *testing.T, s *site) {
	for _, query := range []string{"", "a=1&a=2", "x", "q=%C3%A9%2F%3F%26", "a=b?c=d", "=&&;"} {
		m := s.object(s.get("/env?" + query))
		if m["QUERY_STRING"] != query {
			t.Errorf("%q: QUERY_STRING is %q", query, m["QUERY_STRING"])
		}
	}
	if m := s.object(s.get("/env")); m["QUERY_STRING"] != "" {
		t.Errorf("without one: QUERY_STRING is %q", m["QUERY_STRING"])
	}
}

func checkAuthorization(t *testing.T, s *site) {
	for _, value := range []string{"Basic dXNlcjpwYXNz", "Bearer abc.def"} {
		m := s.object(s.get("/env", "Authorization", value))
		if m["HTTP_AUTHORIZATION"] != value {
			t.Errorf("HTTP_AUTHORIZATION is %v", m["HTTP_AUTHORIZATION"])
		}
	}
}

func checkAddresses(t *testing.T, s *site) {
	q, err := http.NewRequest("GET", s.front.url("/env"), nil)
	must(t, err)
	q.Host = "wiki.example.org"
	q.Header.Set("X-Forwarded-For", "192.0.2.1, 192.0.2.2")
	q.Header.Set("X-Forwarded-Proto", "https")
	q.Header.Set("Accept-Language", "de")
	m := s.object(s.send(q))
	port := fmt.Sprint(s.front.port)
	if s.front.kind == "apache" {
		port = "80" // it goes by the Host header: UseCanonicalPhysicalPort
	}
	for name, want := range map[string]any{
		"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "wiki.example.org", "REQUEST_METHOD": "GET",
		"SERVER_PORT": port, "SERVER_PROTOCOL": "HTTP/1.1", "scheme": "http", "HTTPS": nil,
		"HTTP_X_FORWARDED_FOR": "192.0.2.1, 192.0.2.2", "HTTP_X_FORWARDED_PROTO": "https", "HTTP_ACCEPT_LANGUAGE": "de",
	} {
		if m[name] != want {
			t.Errorf("%s is %v, want %v", name, m[name], want)
		}
	}
	if m["SERVER_NAME"] == "" || m["REMOTE_PORT"] == "" {
		t.Errorf("SERVER_NAME %v, REMOTE_PORT %v", m["SERVER_NAME"], m["REMOTE_PORT"])
	}
}

// Headers that would pose as something of the server's.
func checkLies(t *testing.T, s *site) {
	m := s.object(s.do("POST", "/env", "12345", "Proxy", "http://evil.example.org", "Remote-User", "root",
		"Content-Type", "text/plain"))
	for name, want := range map[string]any{
		"HTTP_PROXY": nil, "HTTP_CONTENT_LENGTH": nil, "HTTP_CONTENT_TYPE": nil, "HTTP_TRANSFER_ENCODING": nil,
		"REMOTE_USER": nil, "CONTENT_LENGTH": "5", "CONTENT_TYPE": "text/plain",
	} {
		if m[name] != want {
			t.Errorf("%s is %v, want %v", name, m[name], want)
		}
	}
}

func checkTLS(t *testing.T, s *site) {
	if s.front.kind == "lighttpd" {
		return // its TLS is a package of its own, and not in the example
	}
	q, err := http.NewRequest("GET", fmt.Sprintf("https://127.0.0.1:%d/env", s.front.tls), nil)
	must(t, err)
	m := s.object(s.send(q))
	if m["HTTPS"] != "on" || m["scheme"] != "https" {
		t.Errorf("HTTPS is %v, the scheme %v", m["HTTPS"], m["scheme"])
	}
}

func checkKeepAlive(t *testing.T, s *site) {
	used := 0
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if i.Reused {
			used++
		}
	}}
	for i := range 5 {
		q, err := http.NewRequest("POST", s.front.url("/take"), strings.NewReader(strings.Repeat("k", i)))
		must(t, err)
		s.took(s.send(q.WithContext(httptrace.WithClientTrace(q.Context(), trace))), strings.Repeat("k", i))
	}
	if used < 4 {
		t.Errorf("of 5 requests %d came on a connection used before", used)
	}
}
