package python_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hostile are values whose classes say something else than they hold.
const hostile = `
def refuse(*args, **more):
    raise LookupError("a method of the value was called")
def lie(*args, **more):
    return args[0].__class__.__mro__[2](b"X-Lie: 1" if isinstance(args[0], bytes) else "X-Lie: 1") if isinstance(args[0], (str, bytes)) else 77
def made(base, how):
    names = ("__add__ __radd__ __mod__ __rmod__ __str__ __repr__ __format__ __eq__ __hash__ __len__ __getitem__ __iter__ __contains__ __bool__ "
        "__bytes__ __buffer__ encode decode isascii isdigit lower upper strip rstrip split join replace startswith endswith find count __int__ __index__ "
        "__lt__ __le__ __gt__ __ge__ __ne__ __getattribute__ __reduce_ex__ __sizeof__").split()
    between = type("Between", (base,), {})
    return type("Hostile", (between,), {name: how for name in names if name != "__getattribute__" and (name != "__hash__" or how is refuse)})
S, B, A, L, T = (made(base, refuse) for base in (str, bytes, bytearray, list, tuple))
class Escaped(str):
    "markupsafe's way: what is added to it is escaped."
    def __radd__(self, other): return "&lt;" + other + self
    def __add__(self, other): return "&lt;" + self + other
class Claims:
    "Says of itself that it is a str, as proxies do."
    __class__ = str
    def __str__(self): return "proxy"
def do_status(env, start):
    start(S("201 Made"), [("X-A", "a")])
    return [b"x"]
def do_name(env, start):
    start("200 OK", [(S("X-Name"), "a"), ("X-B", "b")])
    return [b"x"]
def do_value(env, start):
    start("200 OK", [("X-A", S("1")), ("X-B", Escaped("<2>")), ("X-C", "<3>")])
    return [b"x"]
def do_length(env, start):
    start("200 OK", [(S("Content-Length"), S("1"))])
    return [b"x"]
def do_list(env, start):
    start("200 OK", L([("X-A", "1")]))
    return [b"x"]
def do_pair(env, start):
    start("200 OK", [T(("X-A", "1"))])
    return [b"x"]
def do_chunk(env, start):
    start("200 OK", [])
    return [B(b"one "), A(b"two "), memoryview(b"three"), B(b""), A(b"")]
def do_written(env, start):
    write = start("200 OK", [])
    write(B(b"one "))
    write(A(b"two "))
    write(B(b""))
    return []
def do_lying(env, start):
    class Body(list):
        def __len__(self): return 1
    start("200 OK", [])
    return Body([b"one", b"two"])
def do_unsized(env, start):
    class Body:
        def __len__(self): raise AttributeError("not known yet")
        def __iter__(self): return iter([b"one"])
    start("200 OK", [])
    return Body()
def do_wrong(env, start):
    wrong = dict(none=None, number=5, bytes=b"x", claims=Claims(), crlf=S("a\r\nX-B: c"), wide="\u20ac", nul="\0")
    start("200 OK", [("X-Good", "1"), ("X-Wrong", wrong[env["HTTP_X_CASE"]])])
    return [b"x"]
def do_shape(env, start):
    shapes = dict(three=[("X-Wrong", "b", "c")], text=["X-Wrong"], none=[None], number=5, dict={"X-Wrong": "b"}, claims=[(Claims(), "x")])
    start("200 OK", shapes[env["HTTP_X_CASE"]])
    return [b"x"]
`

// What reaches the wire is what the values hold: no method of theirs takes part.
func TestValuesOfTheApplicationAreTakenAsTheyAre(t *testing.T) {
	w := serve(t, hostile)
	for do, want := range map[string]string{
		"status":  "Status: 201 Made\r\nX-A: a\r\nContent-Length: 1\r\n\r\nx",
		"name":    "Status: 200 OK\r\nX-Name: a\r\nX-B: b\r\nContent-Length: 1\r\n\r\nx",
		"value":   "Status: 200 OK\r\nX-A: 1\r\nX-B: <2>\r\nX-C: <3>\r\nContent-Length: 1\r\n\r\nx",
		"length":  "Status: 200 OK\r\nContent-Length: 1\r\n\r\nx",
		"list":    "Status: 200 OK\r\nX-A: 1\r\nContent-Length: 1\r\n\r\nx",
		"pair":    "Status: 200 OK\r\nX-A: 1\r\nContent-Length: 1\r\n\r\nx",
		"chunk":   "Status: 200 OK\r\n\r\none two three",
		"written": "Status: 200 OK\r\n\r\none two ",
		"unsized": "Status: 200 OK\r\n\r\none",
	} {
		for range 2 { // the second time names and statuses are remembered
			if reply, _ := w.ask(get(do)); reply != want {
				t.Errorf("%s: %q\n%s", do, reply, w.stderr)
			}
		}
	}
	w.silent()
}

func TestHeaderThatCannotBeSentIsNamed(t *testing.T) {
	w := serve(t, hostile)
	for _, name := range strings.Fields("none number bytes claims crlf wide nul") {
		if reply, _ := w.ask(get("wrong", "HTTP_X_CASE", name)); !strings.HasPrefix(reply, "Status: 500 ") {
			t.Errorf("%s: %q", name, reply)
		}
	}
	for _, name := range strings.Fields("three text none number dict claims") {
		if reply, _ := w.ask(get("shape", "HTTP_X_CASE", name)); !strings.HasPrefix(reply, "Status: 500 ") {
			t.Errorf("%s: %q", name, reply)
		}
	}
	w.stop()
	if n := strings.Count(w.stderr.String(), "of header 'X-Wrong'") + strings.Count(w.stderr.String(), "of header X-Wrong"); n != 7 {
		t.Errorf("named %d times\n%s", n, w.stderr)
	}
}

const chunkedApp = `
def do_coded(env, start):
    "X-Body in pieces of X-Size bytes, with the header and maybe a length."
    body = env["HTTP_X_BODY"].replace("|", "\r\n").encode("latin-1")
    size = int(env.get("HTTP_X_SIZE", "1000"))
    more = [("Content-Length", env["HTTP_X_LENGTH"])] if "HTTP_X_LENGTH" in env else []
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    start("200 OK", [("Content-Type", "text/plain"), ("Transfer-Encoding", env.get("HTTP_X_CODING", "chunked")), ("Trailer", "X-T")] + more)
    if env.get("HTTP_X_WAY") == "write":
        return []
    if env.get("HTTP_X_WAY") == "file":
        import io
        return env["wsgi.file_wrapper"](io.BytesIO(body))
    return pieces
`

// The web server gets the body and no coding of its own: an application that frames
// its reply is unframed.
func TestChunkedReplyOfTheApplicationIsDecoded(t *testing.T) {
	w := serve(t, chunkedApp)
	good := map[string]string{
		"5|hello|0||": "hello", "5;x=y|hello|3 |abc|0|X-T: 1||": "helloabc", "00a|0123456789|0||": "0123456789",
		"A|0123456789|00||more": "0123456789", "0||": "",
		// Not framed, though the header says it: the server's part, as with gunicorn.
		"hello": "hello", "cafe": "cafe", "12": "12", "<p>": "<p>", "5 apples|": "5 apples\r\n", "deadbeefdeadbeefdeadbeef": "deadbeefdeadbeefdeadbeef", "": "",
	}
	for text, want := range good {
		for _, size := range []string{"1", "2", "3", "1000"} {
			for _, way := range []string{"", "file"} {
				reply, done := w.ask(get("coded", "HTTP_X_BODY", text, "HTTP_X_SIZE", size, "HTTP_X_WAY", way))
				if body(reply) != want || header(reply, "Transfer-Encoding") != absent || header(reply, "Trailer") != absent ||
					!strings.HasSuffix(done, fmt.Sprintf("BYTES=%d", len(want))) {
					t.Errorf("%q by %s %s: %q, %q", text, size, way, reply, done)
				}
				if length := header(reply, "Content-Length"); length != absent && length != fmt.Sprint(len(want)) {
					t.Errorf("%q by %s: Content-Length %s", text, size, length)
				}
			}
		}
	}
	if reply, _ := w.ask(get("coded", "HTTP_X_BODY", "5|hello|0||", "HTTP_X_LENGTH", "15")); body(reply) != "hello" || strings.Contains(reply, "15") {
		t.Errorf("with a length: %q", reply)
	}
	if reply, _ := w.ask(get("coded", "HTTP_X_BODY", "5|hello|0||", "REQUEST_METHOD", "HEAD")); body(reply) != "" || header(reply, "Content-Length") == "15" {
		t.Errorf("HEAD: %q", reply)
	}
	w.silent()
}

// Malformed, or of another coding: never a page with the framing in it.
func TestCodingThatCannotBeUndoneIsNotAPage(t *testing.T) {
	w := serve(t, chunkedApp)
	for _, coding := range []string{"gzip", "gzip, chunked", "chunked, chunked", "x"} {
		if reply, _ := w.ask(get("coded", "HTTP_X_BODY", "5|hello|0||", "HTTP_X_CODING", coding)); !strings.HasPrefix(reply, "Status: 500 ") {
			t.Errorf("%s: %q", coding, reply)
		}
	}
	for _, text := range []string{"5|hello", "5|hello|", "5|hel", "5|helloXX0||", "5|hello|z|", "5|hello|0"} {
		reply, done := w.ask(get("coded", "HTTP_X_BODY", text))
		if !strings.HasPrefix(reply, "Status: 500 ") && (!strings.HasSuffix(done, "\nCUT=1") || strings.Contains(body(reply), "5\r")) {
			t.Errorf("%q: %q, %q", text, reply, done)
		}
	}
	w.wantLog("Transfer-Encoding 'gzip': only chunked can be undone")
}

const cutApp = `
def do_late(env, start):
    start("200 OK", [])
    yield b"begun"
    raise ValueError("late")
def do_short(env, start):
    start("200 OK", [("Content-Length", "10")])
    return [b"begun"]
def do_written(env, start):
    start("200 OK", [])(b"begun")
    raise ValueError("late")
def do_exit(env, start):
    start("200 OK", [])
    yield b"begun"
    sys.exit(3)
def do_body(env, start):
    start("200 OK", [])
    yield b"begun"
    env["wsgi.input"].read()
def do_whole(env, start):
    start("200 OK", [("Content-Length", "5")])
    yield b"begun"
    raise ValueError("after the end")
class Body(list):
    def close(self): raise ValueError("in close")
def do_close(env, start):
    start("200 OK", [])
    return Body([b"be", b"gun"])
def do_long(env, start):
    start("200 OK", [("Content-Length", "5")])
    return [b"begun, and more"]
`

// A reply that ends early is a cut one: by TCP the front end gets a reset, and the
// master is told, which a Unix socket cannot tell the front end.
func TestReplyThatIsCutIsToldOf(t *testing.T) {
	w := serve(t, cutApp)
	for _, tcp := range []bool{false, true} {
		for do, cut := range map[string]bool{"late": true, "short": true, "written": true, "exit": true, "body": true,
			"whole": false, "close": false, "long": false, "hello": false} {
			r := w.open(tcp)
			request := get(do)
			if do == "body" {
				request = strings.Replace(post(do, "12345"), "CONTENT_LENGTH\x005", "CONTENT_LENGTH\x009", 1)
			}
			io.WriteString(r.conn, request)
			if do == "body" {
				r.conn.(interface{ CloseWrite() error }).CloseWrite()
			}
			done := r.wait()
			if strings.HasSuffix(done, "\nCODE=200\nBYTES=5\nCUT=1") != cut || strings.Contains(done, "CUT") != cut {
				t.Errorf("tcp %v, %s: %q", tcp, do, done)
			}
			reply, err := io.ReadAll(r.conn)
			if !strings.HasSuffix(string(reply), "begun") && do != "hello" {
				t.Errorf("tcp %v, %s: %q", tcp, do, reply)
			}
			if reset := err != nil && strings.Contains(err.Error(), unix.ECONNRESET.Error()); reset != (cut && tcp) {
				t.Errorf("tcp %v, %s: %v", tcp, do, err)
			}
		}
		reply, done := w.ask(get("late", "REQUEST_METHOD", "HEAD")) // nothing is missing
		if strings.Contains(done, "CUT") || body(reply) != "" {
			t.Errorf("HEAD: %q, %q", reply, done)
		}
	}
	w.wantLog("GET /a/b?q=1: exception in the application, its reply is cut\n")
}

// A client that left is not a cut reply of ours.
func TestClientThatLeavesIsNotACutReply(t *testing.T) {
	w := start(t, "app:application")
	r := w.open(false)
	io.WriteString(r.conn, get("endless", "HTTP_X_TAG", "gone"))
	io.ReadFull(r.conn, make([]byte, 1000))
	r.conn.Close()
	if done := r.wait(); strings.Contains(done, "CUT") {
		t.Errorf("got %q", done)
	}
	w.silent()
}
