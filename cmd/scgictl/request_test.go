package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/worker/scgi"
)

// A sent is a request that arrived at a server.
type sent struct {
	header scgi.Header
	body   string
}

// answering serves one connection after the other: it reads the request,
// unless hasty, and writes reply. What it read comes from the channel.
func answering(t *testing.T, reply string, hasty bool) (addr string, got <-chan sent) {
	t.Helper()
	addr = filepath.Join(openDir(t), "s")
	l, err := net.Listen("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(addr, 0o666); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := make(chan sent, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if r, err := scgi.ReadRequest(bufio.NewReader(conn), 0); err == nil && !hasty {
				body, _ := io.ReadAll(r.Body)
				c <- sent{r.Header, string(body)}
			}
			io.WriteString(conn, reply)
			if reply != "" || !hasty {
				conn.Close()
			} else {
				t.Cleanup(func() { conn.Close() })
			}
		}
	}()
	return addr, c
}

func TestRequestSendsWhatAWebServerWould(t *testing.T) {
	addr, got := answering(t, "Status: 200 OK\r\n\r\n", false)
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte("from a file"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string // split at blanks
		body string
		vars map[string]string // "-" is absent
	}{
		{"/a%20b?x=1", "", map[string]string{"REQUEST_METHOD": "GET", "REQUEST_URI": "/a%20b?x=1", "PATH_INFO": "/a b", "QUERY_STRING": "x=1",
			"CONTENT_LENGTH": "0", "SCGI": "1", "HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1", "SCRIPT_NAME": "", "HTTPS": "-"}},
		{"-d a=b /form", "a=b", map[string]string{"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "3", "CONTENT_TYPE": "application/x-www-form-urlencoded"}},
		{"-X PUT -d @" + file + " -H Content-Type:text/plain /f", "from a file", map[string]string{"REQUEST_METHOD": "PUT", "CONTENT_LENGTH": "11", "CONTENT_TYPE": "text/plain"}},
		{"-d @- /in", "from the standard input", map[string]string{"CONTENT_LENGTH": "23"}},
		{"-H Cookie:a=b -H Cookie:c=d -H X-One:1 /", "", map[string]string{"HTTP_COOKIE": "a=b; c=d", "HTTP_X_ONE": "1"}},
		{"--env SCRIPT_NAME=/app --env PATH_INFO=/in --env MINE=x=y --env REMOTE_ADDR=192.0.2.1 /app/in", "",
			map[string]string{"SCRIPT_NAME": "/app", "PATH_INFO": "/in", "MINE": "x=y", "REMOTE_ADDR": "192.0.2.1"}},
		{"https://wiki.example/x", "", map[string]string{"HTTPS": "on", "HTTP_HOST": "wiki.example", "SERVER_PORT": "443", "REQUEST_URI": "/x"}},
		{"/%zz", "", map[string]string{"REQUEST_URI": "/%zz"}},
		{"-X OPTIONS *", "", map[string]string{"REQUEST_URI": "*", "REQUEST_METHOD": "OPTIONS"}},
	} {
		cmd := exec.Command("scgictl", append([]string{"request", "unix:" + addr}, strings.Fields(tt.args)...)...)
		cmd.Stdin = strings.NewReader("from the standard input")
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v %s", tt.args, err, out)
			continue
		}
		r := <-got
		if r.body != tt.body {
			t.Errorf("%s: body %q", tt.args, r.body)
		}
		for name, want := range tt.vars {
			if value, ok := r.header.Lookup(name); value != want && (ok || want != "-") {
				t.Errorf("%s: %s is %q, want %q", tt.args, name, value, want)
			}
		}
	}
}

func TestRequestExitStatus(t *testing.T) {
	for _, tt := range []struct {
		name, reply string
		flags       []string
		status      int
		stderr      string
	}{
		{"a good reply", "Status: 200 OK\r\n\r\nx", nil, exitDone, ""},
		{"an error of the application is a whole reply", "Status: 500 No\r\n\r\nx", nil, exitDone, ""},
		{"--fail", "Status: 404 No\r\n\r\nx", []string{"--fail"}, exitFailed, "the reply's status is 404"},
		{"--fail and a good reply", "Status: 302 Found\r\n\r\n", []string{"--fail"}, exitDone, ""},
		{"nothing", "", nil, exitFailed, "the connection was closed without a reply"},
		{"half a header", "Status: 200 OK\r\nX-A", nil, exitFailed, "the reply is broken"},
		{"no CGI reply", "\x1b[31mhello\n\n", nil, exitFailed, "the reply is broken"},
		{"a short body", "Content-Length: 10\r\n\r\nabc", nil, exitFailed, "the body broke off: Content-Length is 10, 3 bytes came"},
		{"a short body by HEAD", "Content-Length: 10\r\n\r\n", []string{"-X", "HEAD"}, exitDone, ""},
	} {
		addr, _ := answering(t, tt.reply, false)
		_, stderr, status := ctlRun(t, append([]string{"request", addr, "/"}, tt.flags...)...)
		if status != tt.status || !strings.Contains(stderr, tt.stderr) || tt.stderr == "" && stderr != "" || strings.ContainsRune(stderr, 0x1b) {
			t.Errorf("%s: exit status %d, want %d: %q", tt.name, status, tt.status, stderr)
		}
	}
}

func TestRequestSaysWhyThereIsNoConnection(t *testing.T) {
	dir := openDir(t)
	dead := filepath.Join(dir, "dead")
	smallListener(t, dead).Close()
	full := filepath.Join(dir, "full")
	smallListener(t, full)
	for range 3 {
		conn, err := net.Dial("unix", full)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	silent, _ := answering(t, "", true)
	for _, tt := range []struct {
		addr   string
		status int
		stderr string
	}{
		{filepath.Join(dir, "none"), exitNotRunning, "no such file"},
		{dead, exitNotRunning, "connection refused"},
		{"@scgictl-nobody-here", exitNotRunning, "connection refused"},
		{full, exitFailed, "backlog of this socket is full"},
		{silent, exitFailed, "gave no whole reply within"},
		{"nonsense:", exitUsage, "neither /path, @name nor host:port"},
	} {
		_, stderr, status := ctlRun(t, "request", "--timeout", "300ms", tt.addr, "/")
		if status != tt.status || !strings.Contains(stderr, tt.stderr) || !strings.Contains(stderr, "scgictl: ") {
			t.Errorf("%s: exit status %d, want %d: %q", tt.addr, status, tt.status, stderr)
		}
	}
}

func TestRequestSaysThatTheSocketRefusesThisUser(t *testing.T) {
	needsRoot(t) // to become another user
	addr, _ := answering(t, "Status: 200 OK\r\n\r\n", false)
	if err := os.Chmod(addr, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(envUID, strconv.Itoa(nobody))
	if _, stderr, status := ctlRun(t, "request", addr, "/"); status != exitDenied || !strings.Contains(stderr, "hint: scgictl doctor") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
}

func TestRequestTakesAReplyThatComesBeforeTheBodyIsRead(t *testing.T) {
	addr, _ := answering(t, "Status: 413 Too Large\r\nContent-Length: 2\r\n\r\nno", true)
	file := filepath.Join(t.TempDir(), "big")
	if err := errors.Join(os.WriteFile(file, nil, 0o666), os.Truncate(file, 64<<20)); err != nil {
		t.Fatal(err)
	}
	// The server closes with our bytes unread, which resets the connection.
	out, stderr, status := ctlRun(t, "request", "-v", "--json", "-d", "@"+file, addr, "/")
	var s summary
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: %s%s", err, out, stderr)
	}
	if s.Status != 413 || status != exitDone || !s.Whole || s.Seconds.Sent != 0 {
		t.Errorf("exit status %d: %+v", status, s)
	}
}

func TestRequestBodyComesAsItIs(t *testing.T) {
	var all []byte
	for i := range 70000 {
		all = append(all, byte(i*7))
	}
	addr, _ := answering(t, "X-A: b\r\n\r\n"+string(all), false)
	out, stderr, status := ctlRun(t, "request", addr, "/")
	if status != exitDone || out != string(all) || stderr != "" {
		t.Errorf("exit status %d, %d bytes, %q", status, len(out), stderr)
	}
	file := filepath.Join(t.TempDir(), "body")
	out, _, status = ctlRun(t, "request", "-i", "-o", file, addr, "/")
	if b, err := os.ReadFile(file); status != exitDone || err != nil || !bytes.Equal(b, all) || out != "Status: 200 OK\nX-A: b\n\n" {
		t.Errorf("exit status %d, %d bytes, %v, %q", status, len(b), err, out)
	}
	_, stderr, status = ctlRun(t, "request", "-o", "/dev/full", addr, "/")
	if status != exitFailed || !strings.Contains(stderr, "cannot write the body") {
		t.Errorf("to a full disk: exit status %d, %q", status, stderr)
	}
}

func TestRequestVerboseTellsAllAndHarmsNothing(t *testing.T) {
	addr, _ := answering(t, "Status: 200 O\x1b[2JK\r\nX-Evil: \x1b]0;x\a\u202e\r\n\r\nbody", false)
	out, stderr, status := ctlRun(t, "request", "-v", "-H", "X-Mine: \x1b[1m", addr, "/x")
	for _, want := range []string{"* to " + addr, "> REQUEST_URI=/x", "> HTTP_X_MINE=?[1m", "< Status: 200 O?[2JK", "< X-Evil: ?]0;x??",
		"* connected after ", "* request sent after ", "* first byte after ", "* whole reply after ", "* 4 bytes of body"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in %q", want, stderr)
		}
	}
	if status != exitDone || out != "body" || strings.ContainsAny(stderr, "\x1b\a\u202e") {
		t.Errorf("exit status %d, %q, %q", status, out, stderr)
	}
}

func TestRequestJSONIsASummary(t *testing.T) {
	addr, _ := answering(t, "Status: 404 No\r\nContent-Length: 9\r\n\r\nabc", false)
	out, _, status := ctlRun(t, "request", "--json", "-X", "DELETE", addr, "/x?y")
	var s summary
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatal(err)
	}
	if status != exitFailed || s.Status != 404 || s.Method != "DELETE" || s.URI != "/x?y" || s.Address != addr || s.Bytes != 3 || s.Whole ||
		s.Error == "" || s.Variables != nil || s.Header["Content-Length"][0] != "9" || s.Seconds.Whole <= 0 || s.Seconds.Whole < s.Seconds.Connect {
		t.Errorf("exit status %d: %s", status, out)
	}
}

func TestRequestRefusesWhatCannotBeSent(t *testing.T) {
	for _, args := range [][]string{
		{"request"}, {"request", "wiki"}, {"request", "a", "b", "c"},
		{"request", "/s", "x"},
		{"request", "/s", "/", "-H", "no colon"}, {"request", "/s", "/", "-H", "A_B: x"}, {"request", "/s", "/", "-H", "Transfer-Encoding: chunked"},
		{"request", "/s", "/", "--env", "x"}, {"request", "/s", "/", "--env", "CONTENT_LENGTH=many"}, {"request", "/s", "/", "--env", "SCGI=2"},
		{"request", "/s", "/", "-d", "@/nowhere"}, {"request", "/s", "/", "--timeout", "0s"}, {"request", "..", "/"},
	} {
		if out, stderr, status := ctlRun(t, args...); status != exitUsage || out != "" || !strings.HasPrefix(stderr, "scgictl: ") {
			t.Errorf("%q: exit status %d, %q, %q", args, status, out, stderr)
		}
	}
}

func TestRequestFindsAPoolByItsControlSocket(t *testing.T) {
	s := newSite(t, "good", "", serving)
	out, stderr, status := ctlRun(t, "request", "--socket", s.client.Socket(), "-i", "-X", "PURGE", "/page")
	if status != exitDone || !strings.Contains(out, "X-Method: PURGE\n") || !strings.HasSuffix(out, "\n\nanswer to /page") {
		t.Errorf("exit status %d: %s%s", status, out, stderr)
	}
	st, err := s.client.Status(context.Background())
	if err != nil || st.Requests.Served != 1 {
		t.Errorf("%d requests served, %v", st.Requests.Served, err)
	}
}

func TestEndpointsAreThoseOfListen(t *testing.T) {
	for text, want := range map[string]endpoint{
		"/run/x": {"unix", "/run/x"}, "unix:/run/x": {"unix", "/run/x"}, "@x": {"unix", "@x"}, "unix:@x": {"unix", "@x"},
		"127.0.0.1:4000": {"tcp", "127.0.0.1:4000"}, "[::1]:4000": {"tcp", "[::1]:4000"}, "tcp:h:4000": {"tcp", "h:4000"},
	} {
		if got, err := parseEndpoint(text); err != nil || got != want || !isAddress(text) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "@", "unix:", "h:", "/a\x00b"} {
		if got, err := parseEndpoint(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// onTerminal returns what a terminal and stderr get of a body that comes in
// these parts.
func onTerminal(parts ...string) (out, note string) {
	var o, e bytes.Buffer
	t := &terminalBody{
		out: &screen{Writer: bufio.NewWriter(&o), terminal: true, utf8: true, width: 80},
		err: &screen{Writer: bufio.NewWriter(&e), utf8: true, width: 80},
	}
	for _, p := range parts {
		if n, err := t.Write([]byte(p)); n != len(p) || err != nil {
			panic(control.AsError(err))
		}
	}
	if err := t.Close(); err != nil {
		panic(err)
	}
	return o.String(), e.String()
}

func TestTerminalGetsTextOnlyAndHarmless(t *testing.T) {
	for _, tt := range []struct {
		parts     []string
		out, note string
	}{
		{nil, "", ""},
		{[]string{"a line\n"}, "a line\n", ""},
		{[]string{"no end"}, "no end\n", ""},
		{[]string{"a\r\n\tb"}, "a\n\tb\n", ""},
		{[]string{"gr\xc3", "\xbc\xe2", "\x82", "\xac!"}, "grü€!\n", ""},
		{[]string{"broken \xe2\x82"}, "broken ??\n", ""},
		{[]string{"\x1b]0;owned\a \u009b31m \u202e and more text that is plain enough"}, "?]0;owned? ?31m ? and more text that is plain enough\n", ""},
		{[]string{"\x89PNG\r\n\x1a\n\x00\x00", "more"}, "", "the body is not text (14 bytes)"},
		{[]string{"\x7fELF\x02\x01\x01\x00"}, "", "-o FILE"},
	} {
		out, note := onTerminal(tt.parts...)
		if out != tt.out || !strings.Contains(note, tt.note) || tt.note == "" && note != "" {
			t.Errorf("%q: %q, %q, want %q, %q", tt.parts, out, note, tt.out, tt.note)
		}
	}
}

func TestRequestLeavesNoDescriptors(t *testing.T) {
	addr, _ := answering(t, "Status: 200 OK\r\n\r\nx", false)
	to, err := parseEndpoint(addr)
	if err != nil {
		t.Fatal(err)
	}
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := count()
	a, closed, err := requestSpec{uri: "/", data: "@/proc/self/exe", hasData: true}.build(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, where := range []endpoint{to, {"unix", addr + ".none"}} {
		a.send(context.Background(), where, func(*http.Response) (io.Writer, error) { return io.Discard, nil })
	}
	closed()
	if after := count(); after > before+1 { // the server's end may not be closed yet
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
