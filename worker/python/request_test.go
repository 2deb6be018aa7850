package python_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var badRequests = []struct {
	name   string
	bytes  string
	status string
}{
	{"empty netstring", "0:,", "400"},
	{"leading zero", "0" + netstring("CONTENT_LENGTH\x000\x00"), "400"},
	{"plus", "+5:abcde,", "400"},
	{"space", " 5:abcde,", "400"},
	{"hex", "0x5:abcde,", "400"},
	{"20 digits", "12345678901234567890:", "400"},
	{"no colon", "12345678901234567890", "400"},
	{"http", "GET / HTTP/1.0\r\n\r\n", "400"},
	{"over the limit", "1048577:", "431"},
	{"missing comma", "19:CONTENT_LENGTH\x000\x00\x00\x00X", "400"},
	{"no NUL at the end", netstring("CONTENT_LENGTH\x000"), "400"},
	{"odd number of strings", netstring("CONTENT_LENGTH\x000\x00A\x00"), "400"},
	{"empty name", netstring("CONTENT_LENGTH\x000\x00\x00v\x00"), "400"},
	{"content length absent", netstring("SCGI\x001\x00"), "400"},
	{"content length not first", netstring("SCGI\x001\x00CONTENT_LENGTH\x000\x00"), "400"},
	{"content length empty", netstring("CONTENT_LENGTH\x00\x00SCGI\x001\x00"), "400"},
	{"content length -1", netstring("CONTENT_LENGTH\x00-1\x00SCGI\x001\x00"), "400"},
	{"content length +1", netstring("CONTENT_LENGTH\x00+1\x00SCGI\x001\x00"), "400"},
	{"content length with space", netstring("CONTENT_LENGTH\x001 \x00SCGI\x001\x00"), "400"},
	{"content length 2^63", netstring("CONTENT_LENGTH\x009223372036854775808\x00SCGI\x001\x00"), "400"},
	{"content length superscript", netstring("CONTENT_LENGTH\x00\xb2\x00SCGI\x001\x00"), "400"},
	{"content lengths differ", netstring("CONTENT_LENGTH\x000\x00CONTENT_LENGTH\x001\x00"), "400"},
	{"scgi 2", netstring("CONTENT_LENGTH\x000\x00SCGI\x002\x00"), "400"},
	{"ends within the number", "12", "400"},
	{"ends within the block", "100:CONTENT_LENGTH", "400"},
}

func TestBadRequestsAreAnswered(t *testing.T) {
	w := start(t, "app:application")
	for _, test := range badRequests {
		for _, tcp := range []bool{false, true} {
			r := w.open(tcp)
			io.WriteString(r.conn, test.bytes)
			r.conn.(interface{ CloseWrite() error }).CloseWrite()
			reply := r.read()
			if !strings.HasPrefix(reply, "Status: "+test.status+" ") {
				t.Errorf("%s: got %q", test.name, reply)
			}
			if done := r.wait(); !strings.Contains(done, "CODE="+test.status) {
				t.Errorf("%s: %q", test.name, done)
			}
		}
	}
	if reply, _ := w.ask(get("hello")); body(reply) != "hello\n" {
		t.Errorf("afterwards: %q", reply)
	}
	w.silent()
}

func TestLenientWhereFrontEndsDiffer(t *testing.T) {
	w := start(t, "app:application", "--validate")
	base := "REQUEST_METHOD\x00GET\x00HTTP_X_DO\x00hello\x00"
	for name, block := range map[string]string{
		"no SCGI":                "CONTENT_LENGTH\x000\x00" + base,
		"SCGI last":              "CONTENT_LENGTH\x000\x00" + base + "SCGI\x001\x00",
		"same length twice":      "CONTENT_LENGTH\x000\x00" + base + "CONTENT_LENGTH\x000\x00",
		"name with =":            "CONTENT_LENGTH\x000\x00A=B\x00c\x00" + base,
		"value with newline":     "CONTENT_LENGTH\x000\x00A\x00b\nc\x00" + base,
		"invalid UTF-8":          "CONTENT_LENGTH\x000\x00HTTP_A\x00\xff\xfe\x00" + base,
		"nothing but the length": "CONTENT_LENGTH\x000\x00",
	} {
		if reply, done := w.ask(netstring(block)); body(reply) != "hello\n" {
			t.Errorf("%s: %q %q", name, reply, done)
		}
	}
	w.silent()
}

// environ asks the application for its environ.
func (w *worker) environ(request string) map[string]any {
	w.t.Helper()
	reply, _ := w.ask(request)
	var env map[string]any
	if err := json.Unmarshal([]byte(body(reply)), &env); err != nil {
		w.t.Fatalf("%v: %q\n%s", err, reply, w.stderr)
	}
	return env
}

func TestVariables(t *testing.T) {
	w := start(t, "app:application", "--validate")
	block := "CONTENT_LENGTH\x000\x00SCGI\x001\x00REQUEST_METHOD\x00GET\x00REQUEST_URI\x00/x%20y?a=%20b\x00HTTP_X_DO\x00env\x00" +
		"HTTP_X_TWICE\x00a\x00HTTP_X_TWICE\x00b\x00HTTP_COOKIE\x00a=1\x00HTTP_COOKIE\x00b=2\x00" +
		"REMOTE_USER\x00first\x00REMOTE_USER\x00last\x00HTTP_X_BYTES\x00caf\xc3\xa9\xff\x00" +
		"HTTP_PROXY\x00http://evil\x00HTTP_CONTENT_LENGTH\x0099\x00HTTP_CONTENT_TYPE\x00x/y\x00" +
		"HTTP_TRANSFER_ENCODING\x00chunked\x00wsgi.errors\x00spoofed\x00HTTP_HOST\x00h.example:8080\x00"
	env := w.environ(netstring(block))
	want := map[string]any{
		"HTTP_X_TWICE": "a, b", "HTTP_COOKIE": "a=1; b=2", "REMOTE_USER": "last", "HTTP_X_BYTES": "caf\u00c3\u00a9\u00ff",
		"QUERY_STRING": "a=%20b", "PATH_INFO": "/x y", "SCRIPT_NAME": "", "SERVER_NAME": "h.example", "SERVER_PORT": "80",
		"SERVER_PROTOCOL": "HTTP/1.0", "wsgi.url_scheme": "http", "wsgi.multithread": false, "wsgi.multiprocess": true,
		"wsgi.run_once": false, "scgid.worker": "7", "scgid.generation": "2", "scgid.pool": "wiki", "scgid.waited": 0.0015,
		"CONTENT_LENGTH": "0",
	}
	for name, value := range want {
		if env[name] != value {
			t.Errorf("%s = %#v, want %#v", name, env[name], value)
		}
	}
	for _, name := range []string{"HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"} {
		if value, ok := env[name]; ok {
			t.Errorf("%s = %v was passed on", name, value)
		}
	}
	if env["wsgi.errors"] == "spoofed" {
		t.Error("wsgi.errors can be set by a request")
	}
	w.silent()
}

func TestScheme(t *testing.T) {
	w := start(t, "app:application", "--validate")
	for _, test := range []struct{ https, scheme, want string }{
		{"on", absent, "https"}, {"1", absent, "https"}, {"ON", absent, "https"}, {"off", absent, "http"},
		{"", absent, "http"}, {absent, absent, "http"}, {absent, "https", "https"}, {"", "https", "https"},
		{"on", "http", "https"}, {"off", "https", "http"},
	} {
		env := w.environ(get("env", "HTTPS", test.https, "REQUEST_SCHEME", test.scheme))
		if env["wsgi.url_scheme"] != test.want {
			t.Errorf("%+v: %v", test, env["wsgi.url_scheme"])
		}
	}
	w.silent()
}

// drip sends a request in pieces of at most size bytes.
func drip(t *testing.T, w *worker, request string, size int) string {
	r := w.open(false)
	for len(request) > 0 {
		n := min(size, len(request))
		if _, err := io.WriteString(r.conn, request[:n]); err != nil {
			t.Fatal(err)
		}
		request = request[n:]
	}
	reply := r.read()
	r.conn.Close()
	r.wait()
	return reply
}

func TestSplitWritesAndLargeHeaders(t *testing.T) {
	w := start(t, "app:application", "--validate")
	if reply := drip(t, w, post("echo", "one two"), 1); body(reply) != "one two" {
		t.Errorf("byte by byte: %q", reply)
	}
	for _, size := range []int{5000, 16384, 65536, 1<<20 - 400} {
		cookie := strings.Repeat("c", size)
		if reply, _ := w.ask(post("echo", "body", "HTTP_COOKIE", cookie)); body(reply) != "body" {
			t.Errorf("a cookie of %d bytes: %q", size, reply)
		}
	}
	if reply := drip(t, w, get("hello", "HTTP_COOKIE", strings.Repeat("c", 1<<20)), 1<<16); !strings.HasPrefix(reply, "Status: 431 ") {
		t.Errorf("a block over the limit: %q", reply)
	}
	w.silent()
}

var inputTests = []struct {
	name, body, how string
	want            any
}{
	{"read", "abc", "read", []any{"abc"}},
	{"read in parts", "abcdef", "read:2 read:0 read:3 read:9 read:1", []any{"ab", "", "cde", "f", ""}},
	{"readline", "a\nbc\nd", "readline readline readline readline", []any{"a\n", "bc\n", "d", ""}},
	{"readline with size", "abc\nd\n", "readline:2 readline:9 readline:1 readline:1 readline:1", []any{"ab", "c\n", "d", "\n", ""}},
	{"readlines", "a\nb\nc", "readlines", []any{[]any{"a\n", "b\n", "c"}}},
	{"readlines with hint", "aa\nbb\ncc\n", "readlines:4 read", []any{[]any{"aa\n", "bb\n"}, "cc\n"}},
	{"iteration", "a\n\nb", "lines", []any{[]any{"a\n", "\n", "b"}}},
	{"mixed", "a\nb\nc\nd", "readline read:1 readline lines", []any{"a\n", "b", "\n", []any{"c\n", "d"}}},
	{"empty", "", "read readline readlines lines read:5", []any{"", "", []any{}, []any{}, ""}},
}

// The whole body in one piece, byte by byte with the connection left open, and with
// bytes of something else behind it: each time exactly CONTENT_LENGTH bytes.
func TestInput(t *testing.T) {
	w := start(t, "app:application")
	for _, test := range inputTests {
		request := post("input", test.body, "HTTP_X_HOW", test.how)
		for way, reply := range map[string]string{
			"whole":   drip(t, w, request, len(request)),
			"bytes":   drip(t, w, request, 1),
			"surplus": drip(t, w, request+"EXTRA\nEXTRA", len(request)+11),
		} {
			var got any
			if err := json.Unmarshal([]byte(body(reply)), &got); err != nil {
				t.Fatalf("%s, %s: %v: %q\n%s", test.name, way, err, reply, w.stderr)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("%s, %s: got %q, want %q", test.name, way, got, test.want)
			}
		}
	}
	w.silent()
}

// Bytes behind a body that came in parts are received too: the end of a connection
// that holds some is a reset, and a client that is slow to read gets that for the
// end of its reply.
func TestBytesBehindALongBodyDoNotCostTheReply(t *testing.T) {
	w := start(t, "app:application")
	r := w.open(false)
	text := strings.Repeat("x", 150_000)
	go io.WriteString(r.conn, post("echo", text)+"EXTRA\nEXTRA")
	r.wait()
	if got := body(r.read()); got != text {
		t.Errorf("a reply of %d bytes", len(got))
	}
	w.silent()
}

func TestInputUnderValidator(t *testing.T) {
	w := start(t, "app:application", "--validate")
	for _, how := range []string{"read:2 readline readline:1 readlines", "lines", "readlines:2 lines"} {
		if reply, _ := w.ask(post("input", "ab\nc\nd\n", "HTTP_X_HOW", how)); !strings.HasPrefix(reply, "Status: 200 ") {
			t.Errorf("%s: %q", how, reply)
		}
	}
	w.silent()
}

func TestLongLines(t *testing.T) {
	w := start(t, "app:application")
	text := strings.Repeat("x", 300_000) + "\n" + strings.Repeat("y", 100_000)
	reply := drip(t, w, post("input", text, "HTTP_X_HOW", "readline:7 readline readline"), 1<<14)
	want, _ := json.Marshal([]string{text[:7], text[7:300_001], text[300_001:]})
	var got, wanted any
	json.Unmarshal([]byte(body(reply)), &got)
	json.Unmarshal(want, &wanted)
	if !reflect.DeepEqual(got, wanted) {
		t.Errorf("got %d bytes", len(reply))
	}
	w.silent()
}

// CONTENT_LENGTH is larger than what comes (PEERS.md test 3).
func TestBodyThatEndsEarly(t *testing.T) {
	w := start(t, "rude:application")
	request := strings.Replace(post("swallow", "12345"), "CONTENT_LENGTH\x005", "CONTENT_LENGTH\x009", 1)
	r := w.open(true)
	io.WriteString(r.conn, request)
	r.conn.(interface{ CloseWrite() error }).CloseWrite()
	if reply := r.read(); body(reply) != "ConnectionError" {
		t.Errorf("the application saw %q", reply)
	}
	r.wait()
	w.silent()

	w = start(t, "app:application")
	r = w.open(false)
	io.WriteString(r.conn, strings.Replace(post("echo", "12345"), "CONTENT_LENGTH\x005", "CONTENT_LENGTH\x009", 1))
	r.conn.(interface{ CloseWrite() error }).CloseWrite()
	if reply := r.read(); !strings.HasPrefix(reply, "Status: 400 ") {
		t.Errorf("an application that does not care: %q", reply)
	}
	r.wait()
	w.wantLog("the client closed 4 bytes early")
}

func TestChunkedHeaderIsNotDecoded(t *testing.T) {
	w := start(t, "app:application", "--validate")
	if reply, _ := w.ask(post("echo", "5\r\nhello\r\n0\r\n\r\n", "HTTP_TRANSFER_ENCODING", "chunked")); body(reply) != "5\r\nhello\r\n0\r\n\r\n" {
		t.Errorf("got %q", reply)
	}
	w.silent()
}

// PEERS.md test 9: connect and close with no bytes.
func TestConnectionWithoutRequest(t *testing.T) {
	w := start(t, "app:application")
	for _, tcp := range []bool{false, true} {
		r := w.open(tcp)
		r.conn.Close()
		if done := r.wait(); done != fmt.Sprintf("DONE=%d", r.id) {
			t.Errorf("got %q", done)
		}
	}
	w.silent()
}

// PEERS.md test 11: the header arrives, the body never does.
func TestReadDeadline(t *testing.T) {
	w := start(t, "app:application", "--read-timeout", "0.2")
	for name, part := range map[string]string{
		"body":   strings.Replace(post("echo", "12345"), "CONTENT_LENGTH\x005", "CONTENT_LENGTH\x009", 1),
		"header": "100:CONTENT_LENGTH",
		"all":    "",
	} {
		r := w.open(false)
		io.WriteString(r.conn, part)
		begin := time.Now()
		if reply := r.read(); !strings.HasPrefix(reply, "Status: 408 ") {
			t.Errorf("no %s: got %q", name, reply)
		}
		if took := time.Since(begin); took < 150*time.Millisecond || took > 10*time.Second {
			t.Errorf("no %s: took %v", name, took)
		}
		r.conn.Close()
		r.wait()
	}
	w.wantLog("the client stopped sending")
}

func TestTenMegabytesBothWays(t *testing.T) {
	data := make([]byte, 10<<20)
	rand.New(rand.NewSource(1)).Read(data)
	text := string(data)
	sum := fmt.Sprintf("%d %x", len(data), sha256.Sum256(data))
	for _, args := range [][]string{{"app:application"}, {"app:application", "--validate"}} {
		w := start(t, args...)
		for _, tcp := range []bool{false, true} {
			// Everything is written before a byte is read, as Apache does.
			for do, want := range map[string]string{"sum": sum, "pipe": text, "echo": text} {
				r := w.open(tcp)
				if _, err := io.WriteString(r.conn, post(do, text)); err != nil {
					t.Fatal(err)
				}
				if got := body(r.read()); got != want {
					t.Errorf("%s, tcp %v: %d bytes, want %d", do, tcp, len(got), len(want))
				}
				r.wait()
			}
			r := w.open(tcp)
			if _, err := io.WriteString(r.conn, post("write-first", text)); err != nil {
				t.Fatal(err)
			}
			want := strings.Repeat("w", len(text)) + fmt.Sprintf("%x", sha256.Sum256(data))
			if got := body(r.read()); got != want {
				t.Errorf("write first, tcp %v: %d bytes, want %d", tcp, len(got), len(want))
			}
			r.wait()
		}
		w.silent()
	}
}

// PEERS.md test 13: the reply must arrive whole, without a reset, though the
// application read nothing of the body.
func TestReplyWithoutReadingTheBody(t *testing.T) {
	w := start(t, "app:application", "--validate")
	for _, tcp := range []bool{false, true} {
		for _, size := range []int{1, 1 << 10, 100 << 10, 4 << 20} {
			r := w.open(tcp)
			if _, err := io.WriteString(r.conn, post("ignore", strings.Repeat("b", size))); err != nil {
				t.Fatalf("tcp %v, %d bytes: %v", tcp, size, err)
			}
			if reply := r.read(); body(reply) != "not read\n" {
				t.Errorf("tcp %v, %d bytes: %q", tcp, size, reply)
			}
			r.wait()
		}
	}
	w.silent()
}

// nginx sends no more of a body once the reply has begun: it must all be here
// before the first byte goes out.
func TestBodyIsReceivedBeforeTheReplyBegins(t *testing.T) {
	w := start(t, "app:application")
	const size = 10 << 20
	for _, do := range []string{"pipe", "write-first", "file", "ignore"} {
		r := w.open(false)
		begun := make(chan struct{})
		go func() {
			defer close(begun)
			r.conn.Read(make([]byte, 1)) // the reply's first byte
		}()
		request := post(do, strings.Repeat("b", size))
		for len(request) > 0 {
			n, err := io.WriteString(r.conn, request[:min(len(request), 1<<16)])
			request = request[n:]
			select {
			case <-begun:
				if len(request) > 1<<16 {
					t.Fatalf("%s: the reply began %d bytes before the end (%v)", do, len(request), err)
				}
			default:
			}
		}
		<-begun
		r.read()
		r.conn.Close()
		r.wait()
	}
	w.silent()
}

func TestDrainIsBounded(t *testing.T) {
	w := start(t, "app:application", "--max-drain", "1000")
	r := w.open(false)
	io.WriteString(r.conn, post("ignore", strings.Repeat("b", 50_000)))
	if reply := r.read(); body(reply) != "not read\n" {
		t.Errorf("bytes: %q", reply)
	}
	r.wait()

	// A client that has sent half and waits: two seconds, not forever.
	r = w.open(false)
	io.WriteString(r.conn, strings.Replace(post("ignore", "12345"), "CONTENT_LENGTH\x005", "CONTENT_LENGTH\x009", 1))
	begin := time.Now()
	if reply := r.read(); body(reply) != "not read\n" {
		t.Errorf("time: %q", reply)
	}
	r.wait()
	if took := time.Since(begin); took < time.Second || took > 10*time.Second {
		t.Errorf("drained for %v", took)
	}
	w.silent()
}

// What the master passes may have been looked at, but no descriptor stays behind.
func TestNoDescriptorIsLeaked(t *testing.T) {
	w := start(t, "app:application")
	mix := []string{get("hello"), post("echo", "abc"), get("file"), get("raise"), "0:,", post("ignore", "12345"),
		get("hello", "REQUEST_METHOD", "HEAD"), post("pipe", strings.Repeat("p", 100_000))}
	round := func() {
		for _, request := range mix {
			if reply, _ := w.ask(request); !strings.HasPrefix(reply, "Status: ") {
				t.Fatalf("got %q\n%s", reply, w.stderr)
			}
		}
	}
	round()
	before := w.descriptors()
	for n := len(mix); n <= 500; n += len(mix) {
		round()
	}
	w.sendForeign()
	if after := w.descriptors(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	w.stop()
}

// sendForeign sends descriptors with a message that the worker does not know.
func (w *worker) sendForeign() {
	w.t.Helper()
	client, fd := streamPair(w.t)
	defer client.Close()
	defer unix.Close(fd)
	for _, count := range []int{1, 3, 20} {
		fds := make([]int, count)
		for i := range fds {
			fds[i] = fd
		}
		if _, _, err := w.link.WriteMsgUnix([]byte("NEWS=1"), unix.UnixRights(fds...), nil); err != nil {
			w.t.Fatal(err)
		}
	}
	w.ask(get("hello")) // it is behind them in the queue
}
