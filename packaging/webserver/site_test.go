package webserver_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A site is an application behind a web server.
type site struct {
	t      testing.TB
	front  *front
	pool   *pool
	client *http.Client
}

// with makes a site that reports to another test.
func (s *site) with(t testing.TB) *site {
	c := *s
	c.t = t
	return &c
}

func newClient(t testing.TB) *http.Client {
	transport := &http.Transport{
		DisableCompression: true, MaxIdleConnsPerHost: 4,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// A reply is a response that has been read to its end.
type reply struct {
	*http.Response
	text string
}

func (s *site) do(method, path, body string, headers ...string) *reply {
	s.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	q, err := http.NewRequest(method, s.front.url(path), r)
	must(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		q.Header.Add(headers[i], headers[i+1])
	}
	return s.send(q)
}

func (s *site) send(q *http.Request) *reply {
	s.t.Helper()
	r, err := s.client.Do(q)
	must(s.t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatalf("%s %s: reading the reply after %d bytes: %v", q.Method, q.URL, len(text), err)
	}
	return &reply{r, string(text)}
}

// download returns status, length and SHA-256 of a reply, and keeps nothing of it.
func (s *site) download(path string) (code int, n int64, checksum string) {
	s.t.Helper()
	r, err := s.client.Get(s.front.url(path))
	must(s.t, err)
	defer r.Body.Close()
	h := sha256.New()
	n, err = io.Copy(h, r.Body)
	if err != nil {
		s.t.Fatalf("%s: after %d bytes: %v", path, n, err)
	}
	return r.StatusCode, n, hex.EncodeToString(h.Sum(nil))
}

func (s *site) get(path string, headers ...string) *reply {
	s.t.Helper()
	return s.do("GET", path, "", headers...)
}

// ok is get, where only 200 will do.
func (s *site) ok(path string, headers ...string) string {
	s.t.Helper()
	r := s.get(path, headers...)
	s.want(r, 200, "")
	return r.text
}

// want checks a reply's status and text; "" is any text.
func (s *site) want(r *reply, code int, text string) {
	s.t.Helper()
	if r.StatusCode != code || text != "" && r.text != text {
		s.t.Fatalf("%s %s: got %d %.300q, want %d %.300q", r.Request.Method, r.Request.URL, r.StatusCode, r.text, code, text)
	}
}

// object is want 200 with a JSON object.
func (s *site) object(r *reply) map[string]any {
	s.t.Helper()
	s.want(r, 200, "")
	var m map[string]any
	if err := json.Unmarshal([]byte(r.text), &m); err != nil {
		s.t.Fatalf("%s: %v in %.300q", r.Request.URL, err, r.text)
	}
	return m
}

// same compares what JSON has made of something.
func (s *site) same(got any, want string) {
	s.t.Helper()
	text, err := json.Marshal(got)
	must(s.t, err)
	if string(text) != want {
		s.t.Fatalf("got %s, want %s", text, want)
	}
}

// withJar returns a site whose client keeps cookies.
func (s *site) withJar() *site {
	c := *s
	client := *s.client
	client.Jar, _ = cookiejar.New(nil)
	c.client = &client
	return &c
}

// dial opens a connection of its own, for what net/http does not do.
func (s *site) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.front.port))
	must(s.t, err)
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// raw sends text as it is and reads one reply.
func (s *site) raw(method, text string) *reply {
	s.t.Helper()
	c := s.dial()
	defer c.Close()
	_, err := io.WriteString(c, text)
	must(s.t, err)
	return s.readReply(bufio.NewReader(c), method)
}

func (s *site) readReply(r *bufio.Reader, method string) *reply {
	s.t.Helper()
	q := &http.Request{Method: method}
	resp, err := http.ReadResponse(r, q)
	must(s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(s.t, err)
	return &reply{resp, string(text)}
}

var tokens atomic.Int64

// A talk is a pair of named pipes to the application.
type talk struct {
	t     testing.TB
	token string
	goes  *os.File
	said  *bufio.Reader
}

// talk makes one; the application opens it by its token.
func (s *site) talk() *talk {
	s.t.Helper()
	k := &talk{t: s.t, token: fmt.Sprintf("t%d", tokens.Add(1))}
	k.goes = k.pipe(s.pool.probe, ".go")
	said := k.pipe(s.pool.probe, ".said")
	must(s.t, said.SetReadDeadline(time.Now().Add(patience)))
	k.said = bufio.NewReader(said)
	return k
}

// pipe opens one for reading and writing, so that nobody waits for the other end.
func (k *talk) pipe(dir, end string) *os.File {
	k.t.Helper()
	path := filepath.Join(dir, k.token+end)
	must(k.t, unix.Mkfifo(path, 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(k.t, err)
	k.t.Cleanup(func() { f.Close() })
	return f
}

// hear waits for a word of the application's.
func (k *talk) hear(word string) {
	k.t.Helper()
	line, err := k.said.ReadString('\n')
	if err != nil || line != word+"\n" {
		k.t.Fatalf("heard %q (%v), want %q", line, err, word)
	}
}

// release lets n requests go on.
func (k *talk) release(n int) {
	k.t.Helper()
	_, err := k.goes.Write(bytes.Repeat([]byte("g"), n))
	must(k.t, err)
}

// pattern is what blocks has made already: the longest so far.
var pattern struct {
	sync.Mutex
	all []byte
}

// blocks is what the applications' /bytes gives: see probe.py.
func blocks(size int) []byte {
	pattern.Lock()
	defer pattern.Unlock()
	if len(pattern.all) < size {
		pattern.all = makeBlocks(size)
	}
	return pattern.all[:size:size]
}

func makeBlocks(size int) []byte {
	all := make([]byte, 0, size+65536)
	for i := 0; len(all) < size; i++ {
		sum := sha256.Sum256(fmt.Append(nil, i))
		all = append(all, bytes.Repeat(sum[:], 65536/32)...)
	}
	return all[:size]
}

func sum[T string | []byte](data T) string {
	s := sha256.Sum256([]byte(data))
	return hex.EncodeToString(s[:])
}

// writeBlocks makes a file and returns its SHA-256.
func writeBlocks(path string, size int) (string, error) {
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data := makeBlocks(size)
	_, err = f.Write(data)
	return sum(data), err
}
