package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

func TestProgramGetsRequestAsEnvironment(t *testing.T) {
	root := t.TempDir()
	path := install(t, root, "sub/env.sh", "#!/bin/sh\necho Content-Type: text/plain\necho\npwd\necho $0\nenv\n")
	m := startWorker(t, "--root", root, "--env", "SITE=here", "--pass-env", "WORKER_SECRET")
	r := m.ask("hello", "REQUEST_METHOD=POST", "SCRIPT_FILENAME="+path+"/more/path", "SCRIPT_NAME=/sub/env.sh/more/path",
		"QUERY_STRING=a=b&c", "HTTP_HOST=example.org", "HTTP_PROXY=http://evil", "LD_PRELOAD=/evil.so", "PATH=/evil",
		"SITE=elsewhere", "HTTP_X_TWICE=one", "HTTP_X_TWICE=two", "CONTENT_TYPE=text/plain", "HTTP_CONTENT_LENGTH=99")
	if r.code != 200 {
		t.Fatalf("got %+v; log:\n%s", r, m.stderr)
	}
	lines := strings.Split(strings.TrimSuffix(r.body, "\n"), "\n")
	if lines[0] != filepath.Dir(path) || lines[1] != path {
		t.Errorf("directory and name are %q, want that of %s", lines[:2], path)
	}
	got := make(map[string]bool)
	for _, line := range lines[2:] {
		got[line] = true
	}
	for _, want := range []string{
		"GATEWAY_INTERFACE=CGI/1.1", "CONTENT_LENGTH=5", "CONTENT_TYPE=text/plain", "QUERY_STRING=a=b&c", "REQUEST_METHOD=POST",
		"HTTP_HOST=example.org", "HTTP_X_TWICE=one, two", "SITE=here", "WORKER_SECRET=secret", "PATH=" + defaultPath,
		"SCRIPT_FILENAME=" + path, "SCRIPT_NAME=/sub/env.sh", "PATH_INFO=/more/path", "SERVER_SOFTWARE=scgid",
		"SERVER_NAME=example.org", "SERVER_PORT=80", "SERVER_PROTOCOL=HTTP/1.0", "REMOTE_ADDR=0.0.0.0",
	} {
		if !got[want] {
			t.Errorf("the program has no %s", want)
		}
		delete(got, want)
	}
	for line := range got {
		// The shell sets these itself; the locale is this process's.
		name, _, _ := strings.Cut(line, "=")
		if !isLocal(name) && !strings.HasPrefix(line, "PWD=") && !strings.HasPrefix(line, "OLDPWD=") && line != "_=/usr/bin/env" && !strings.HasPrefix(line, "SHLVL=") {
			t.Errorf("the program also has %s", line)
		}
	}
}

func TestWorkersEnvironmentStaysOut(t *testing.T) {
	path := install(t, t.TempDir(), "env.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nenv\n")
	m := startWorker(t, path)
	r := m.ask("")
	for _, name := range []string{"WORKER_SECRET", "SCGID_", "HOME=", "CONTENT_LENGTH"} {
		if strings.Contains(r.body, name) {
			t.Errorf("the program has %s:\n%s", name, r.body)
		}
	}
}

func TestFixedProgramGetsArguments(t *testing.T) {
	path := install(t, t.TempDir(), "args.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nprintf '<%s>' \"$@\"\n")
	m := startWorker(t, path, "--slots", "a b")
	if r := m.ask("", "QUERY_STRING=never+these"); r.body != "<--slots><a b>" {
		t.Errorf("the program's arguments are %s", r.body)
	}
}

// RFC 3875, 4.1.13: SCRIPT_NAME must be set. nginx's scgi_params have neither.
func TestFixedProgramGetsThePath(t *testing.T) {
	path := install(t, t.TempDir(), "path.sh",
		"#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nprintf '<%s><%s>' \"${SCRIPT_NAME-unset}\" \"${PATH_INFO-unset}\"\n")
	m := startWorker(t, path)
	for _, test := range []struct {
		vars []string
		want string
	}{
		{[]string{"REQUEST_URI=/caf%C3%A9/x?q=/y", "DOCUMENT_URI=/café/x"}, "<></café/x>"},
		{[]string{"REQUEST_URI=/caf%C3%A9/x?q=/y"}, "<></café/x>"},
		{[]string{"REQUEST_URI=http://example.org/x"}, "<></x>"},
		{[]string{"REQUEST_URI=*"}, "<><unset>"},
		{[]string{"REQUEST_URI=/a%00b"}, "<><unset>"},
		{nil, "<><unset>"},
		{[]string{"DOCUMENT_URI=/a/b", "SCRIPT_NAME=/a"}, "</a><unset>"},
		{[]string{"DOCUMENT_URI=/a/b", "PATH_INFO=/b"}, "</a></b>"},
		{[]string{"DOCUMENT_URI=/a/b", "SCRIPT_NAME=/a", "PATH_INFO="}, "</a><>"},
		{[]string{"DOCUMENT_URI=/a.php", "SCRIPT_FILENAME=/srv/a.php"}, "</a.php><unset>"},
	} {
		if r := m.ask("", test.vars...); r.body != test.want {
			t.Errorf("%q: got %q, want %q", test.vars, r.body, test.want)
		}
	}
	m = startWorker(t, "--env", "SCRIPT_NAME=/a", path)
	if r := m.ask("", "DOCUMENT_URI=/a/b"); r.body != "</a><unset>" {
		t.Errorf("--env SCRIPT_NAME: got %q", r.body)
	}
}

func TestBodyReachesProgramWhole(t *testing.T) {
	path := install(t, t.TempDir(), "sum.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nexec sha256sum\n")
	m := startWorker(t, path)
	for _, size := range []int{0, 1, feedAtOnce - 1, feedAtOnce, feedAtOnce + 1, 1 << 20} {
		body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		r := m.ask(body, "REQUEST_METHOD=POST")
		if want := fmt.Sprintf("%x  -\n", sha256.Sum256([]byte(body))); r.body != want {
			t.Errorf("%d bytes: got %q, want %q", size, r.body, want)
		}
	}
}

// The client writes all before it reads, so cat and the worker would wait for
// each other if the body were not taken in the meantime.
func TestTenMegabytesBothWays(t *testing.T) {
	dir := t.TempDir()
	body := strings.Repeat("0123456789abcde\n", 10<<20/16)
	for name, text := range map[string]string{
		"reads while it writes":  "cat",
		"writes before it reads": "head -c 10485760 /dev/zero | tr '\\0' x; cat >/dev/null",
		"reads nothing":          "exec <&-; head -c 10485760 /dev/zero | tr '\\0' x",
		"never looks at it":      "head -c 10485760 /dev/zero | tr '\\0' x",
	} {
		path := install(t, dir, strings.ReplaceAll(name, " ", "-"), "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n"+text+"\n")
		m := startWorker(t, path)
		r := m.ask(body, "REQUEST_METHOD=POST")
		want := body
		if text != "cat" {
			want = strings.Repeat("x", len(body))
		}
		if r.body != want {
			t.Errorf("a program that %s: the reply's %d bytes are not those it wrote", name, len(r.body))
		}
	}
}

// The program's second line waits for the client to have seen the first.
func TestReplyComesAsItIsWritten(t *testing.T) {
	// One pipe for each line: a program could open the same one again before
	// its writer has closed it.
	seen := map[string]string{"one\n": fifo(t, "seen-one"), "two\n": fifo(t, "seen-two")}
	path := install(t, t.TempDir(), "slow.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n"+
		"echo one\nread x <"+seen["one\n"]+"\necho two\nread x <"+seen["two\n"]+"\necho three\n")
	m := startWorker(t, path)
	c, done := m.connect()
	writeRequest(t, c, "")
	r := bufio.NewReader(c)
	for _, want := range []string{"Status: 200 OK\r\n", "Content-Type: text/plain\r\n", "\r\n", "one\n", "two\n", "three\n"} {
		line, err := r.ReadString('\n')
		must(t, err)
		if line != want {
			t.Fatalf("got %q, want %q", line, want)
		}
		if pipe, ok := seen[line]; ok {
			m.tell(pipe, "yes\n")
		}
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the reply continues: %v", err)
	}
	if msg := m.await(done); msg.Code != 200 || msg.Bytes != 14 {
		t.Errorf("the master was told CODE=%d BYTES=%d", msg.Code, msg.Bytes)
	}
}

var replyTests = []struct {
	name   string
	text   string // what the shell program does
	method string
	code   int
	body   string // "" for the worker's own
	log    string
}{
	{"nph", `printf 'HTTP/1.0 404 Gone fishing\r\nContent-Type: text/plain\r\n\r\nhi'`, "GET", 404, "hi", ""},
	{"status", `printf 'Status: 201\nContent-Type: text/plain\n\nhi'`, "GET", 201, "hi", ""},
	{"HEAD", `printf 'Content-Length: 2\n\nhi'`, "HEAD", 200, "", ""},
	{"204 with a body", `printf 'Status: 204 No Content\n\nhi'`, "GET", 204, "", ""},
	{"exit 3 after the reply", `printf 'Content-Type: text/plain\n\nhi'; exit 3`, "GET", 200, "hi", "exited with status 3 after it had replied"},
	{"no header", `echo hello`, "GET", 500, "", `has no end; the output begins "hello\n"`},
	{"no colon", `printf 'hello\n\nhi'`, "GET", 500, "", `"hello" is not a header field; the output begins "hello\n\nhi"`},
	{"empty header", `printf '\nhi'`, "GET", 500, "", "its reply has no header"},
	{"endless header", `while :; do echo "X-Line: yes"; done`, "GET", 500, "", "more than 65536 bytes"},
	{"a comment before the header, as Python's cgitb writes", `printf '<!--: spam\nContent-Type: text/html\n\nhi'`, "GET", 200, "hi", `"<!--: spam" is not a header field`},
	{"two Status fields", `printf 'Status: 200 OK\nStatus: 404 Not Found\n\nhi'`, "GET", 404, "hi", "is a second Status field"},
	{"chunked", `printf 'Transfer-Encoding: chunked\n\n2\r\nhi\r\n3;x=y\r\n yo\r\n0\r\nX: y\r\n\r\n'`, "GET", 200, "hi yo", ""},
	{"chunked, HEAD", `printf 'Transfer-Encoding: chunked\n\n2\r\nhi\r\n0\r\n\r\n'`, "HEAD", 200, "", ""},
	{"chunked, and nothing", `printf 'Transfer-Encoding: chunked\n\n0\r\n\r\n'`, "GET", 200, "", ""},
	{"not chunked as it says", `printf 'Transfer-Encoding: chunked\n\nhello'`, "GET", 500, "", "its body is not chunked as its Transfer-Encoding says"},
	{"chunked, and ends in the middle", `printf 'Transfer-Encoding: chunked\n\n5\r\nhello\r\n'`, "GET", 200, "hello", "its body is not chunked as its Transfer-Encoding says: unexpected EOF"},
	{"another coding", `printf 'Transfer-Encoding: gzip, chunked\n\nhello'`, "GET", 500, "", `Transfer-Encoding: "gzip, chunked" cannot be decoded`},
	{"shorter than stated", `printf 'Content-Length: 9\n\nhi'`, "GET", 200, "hi", "it stated a Content-Length of 9 and wrote 2 bytes"},
	{"two lengths", `printf 'Content-Length: 1\nContent-Length: 9\n\nhi'`, "GET", 200, "hi", "two values of Content-Length"},
	{"no output", `exit 0`, "GET", 500, "", "exited with status 0 without a reply"},
	{"exit 3", `exit 3`, "GET", 500, "", "exited with status 3 without a reply"},
	{"signal", `kill -9 $$`, "GET", 500, "", "was killed by signal 9 (killed) without a reply"},
	{"stderr", `echo complaint >&2; printf 'Content-Type: text/plain\n\nhi'`, "GET", 200, "hi", "complaint\n"},
}

func TestRepliesOfAllKinds(t *testing.T) {
	root := t.TempDir()
	m := startWorker(t, "--root", root)
	for i, test := range replyTests {
		path := install(t, root, fmt.Sprint(i), "#!/bin/sh\n"+test.text+"\n")
		r := m.ask("", "SCRIPT_FILENAME="+path, "REQUEST_METHOD="+test.method)
		if _, coded := r.field("Transfer-Encoding"); coded {
			t.Errorf("%s: the reply has a Transfer-Encoding", test.name)
		}
		if want := test.body; r.code != test.code || test.code < 500 && r.body != want {
			t.Errorf("%s: got %d %q, want %d %q", test.name, r.code, r.body, test.code, want)
		}
		m.wantLog(test.log)
	}
}

func TestProgramsThatCannotStart(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	install(t, outside, "evil", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nescaped'\n")
	install(t, root, "format", "\x7fELF, or so it says")
	install(t, root, "interpreter", "#!/nonexistent/shell\n")
	install(t, root, "dir/good", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n%s' \"$PATH_INFO\"\n")
	must(t, os.WriteFile(filepath.Join(root, "plain"), []byte("#!/bin/sh\n"), 0o644))
	must(t, os.Symlink(filepath.Join(outside, "evil"), filepath.Join(root, "absolute")))
	must(t, os.Symlink("../"+filepath.Base(outside)+"/evil", filepath.Join(root, "relative")))
	must(t, os.Symlink("/proc/self/root"+outside+"/evil", filepath.Join(root, "magic")))
	must(t, os.Symlink("dir/good", filepath.Join(root, "inside")))
	must(t, os.Symlink("loop", filepath.Join(root, "loop")))
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o755))
	m := startWorker(t, "--root", root)
	for _, test := range []struct {
		name string
		code int
	}{
		{root + "/dir/good", 200}, {root + "/inside", 200}, {root + "/dir/good/extra", 200}, {root + "//dir/./good", 200},
		{"proxy:scgi://127.0.0.1:4000/dir/good/x", 200}, {"proxy:scgi://[::1]:4000/dir/%67ood", 200},
		{"proxy:scgi://localhost:4000" + root + "/inside", 200},
		{root + "/missing", 404}, {root + "/missing/more", 404}, {root + "/dir/good2", 404}, {"proxy:scgi://localhost", 404},
		{root + "/" + strings.Repeat("x/", 3000), 404}, {root + "/" + strings.Repeat("x", 300), 404},
		{root, 403}, {root + "/dir", 403}, {root + "/dir/", 403}, {root + "/plain", 403}, {root + "/plain/x", 403}, {root + "/fifo", 403},
		{root + "/absolute", 403}, {root + "/relative", 403}, {root + "/relative/x", 403}, {root + "/magic", 403}, {root + "/loop", 403},
		{outside + "/evil", 403}, {root + "/../" + filepath.Base(outside) + "/evil", 403}, {root + "x/evil", 403}, {"dir/good", 403},
		{"proxy:scgi://localhost:4000/../" + filepath.Base(outside) + "/evil", 403},
		{"proxy:scgi://localhost:4000/%2e%2e/" + filepath.Base(outside) + "/evil", 403},
		{"proxy:scgi://localhost:4000/dir/good%00", 403},
		{root + "/format", 500}, {root + "/interpreter", 500},
	} {
		r := m.ask("", "SCRIPT_FILENAME="+test.name)
		if r.code != test.code || strings.Contains(r.body, "escaped") {
			t.Errorf("%.200q: got %d %q, want %d", test.name, r.code, r.body, test.code)
		}
	}
	m.wantLog("is not executable")
	m.wantLog("its interpreter does not exist")
	m.wantLog("exec format error")
}

func TestBackgroundChildDelaysNothing(t *testing.T) {
	release, alive := fifo(t, "release"), fifo(t, "alive")
	path := install(t, t.TempDir(), "daemon.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhi'\n(read x <"+release+"; echo $x >"+alive+") &\n")
	m := startWorker(t, path)
	if r := m.ask(""); r.code != 200 || r.body != "hi" { // waits for the end of file and DONE
		t.Errorf("got %+v", r)
	}
	m.tell(release, "still here\n")
	if text := m.hear(alive); text != "still here\n" {
		t.Errorf("the child said %q", text)
	}
}

// The reply ends with standard output, the slot with the program.
// Web servers that wait for the end of the connection do not wait for the program's.
func TestProgramMayWorkOnAfterItsReply(t *testing.T) {
	for name, reply := range map[string]string{
		"closed": `printf 'Content-Type: text/plain\n\nhi'; exec >&-`,
		"stated": `printf 'Content-Length: 2\n\nhi'`,
	} {
		t.Run(name, func(t *testing.T) {
			release := fifo(t, "release")
			path := install(t, t.TempDir(), "after.sh", "#!/bin/sh\n"+reply+"\nread x <"+release+"\n")
			m := startWorker(t, path)
			c, done := m.connect()
			writeRequest(t, c, "")
			text, err := io.ReadAll(c)
			must(t, err)
			if r := readReply(t, text); r.body != "hi" {
				t.Errorf("got %+v", r)
			}
			c.Close()
			select {
			case <-done:
				t.Error("DONE came while the program runs")
			default:
			}
			m.tell(release, "go\n")
			m.await(done)
			m.wantNoLog()
		})
	}
}

// nginx leaves as soon as it has what was stated. The program may have more to do,
// and its client was told that all went well.
func TestProgramWorksOnWhenTheClientHasItsWholeReply(t *testing.T) {
	for name, tt := range map[string]struct{ reply, more, body string }{
		"length":         {"Content-Length: 2\\n\\nhi", "", "hi"},
		"in parts":       {"Content-Length: 5\\n\\nhi", "you", "hiyou"},
		"no body":        {"Status: 204\\n\\n", "", ""},
		"bytes too many": {"Content-Length: 2\\n\\nhi you", " all\\n", "hi"},
	} {
		t.Run(name, func(t *testing.T) {
			release, note := fifo(t, "release"), filepath.Join(t.TempDir(), "note")
			path := install(t, t.TempDir(), "after.sh", "#!/bin/sh\nprintf '"+tt.reply+"'\nsleep 0.05\nprintf '"+tt.more+"'\nread x <"+release+"\necho $x >"+note+"\n")
			m := startWorker(t, path)
			c, done := m.connect()
			writeRequest(t, c, "")
			var text []byte
			for b := make([]byte, 100); len(tt.body) > 0 && !strings.HasSuffix(string(text), "\r\n\r\n"+tt.body) || !strings.Contains(string(text), "\r\n\r\n"); {
				n, err := c.Read(b)
				must(t, err)
				text = append(text, b[:n]...)
			}
			c.Close()
			m.tell(release, "done\n")
			m.await(done)
			if got, err := os.ReadFile(note); string(got) != "done\n" {
				t.Errorf("the program was ended: %q, %v", got, err)
			}
			if _, body, _ := strings.Cut(string(text), "\r\n\r\n"); body != tt.body {
				t.Errorf("got %q", text)
			}
			m.wantNoLog()
		})
	}
}

// A program that never stops writing is ended by the kernel.
func TestAProgramThatWritesOnAndOnAfterItsReplyEnds(t *testing.T) {
	path := install(t, t.TempDir(), "yes.sh", "#!/bin/sh\nprintf 'Content-Length: 2\\n\\nhi'\nexec yes\n")
	m := startWorker(t, path)
	c, done := m.connect()
	writeRequest(t, c, "")
	text, err := io.ReadAll(c)
	must(t, err)
	if r := readReply(t, text); r.body != "hi" {
		t.Errorf("got %+v", r)
	}
	m.await(done)
	m.wantLog("after it had replied")
}

// Whoever asks for a header only has it all, and leaves: no line for the log.
func TestLeavingAfterAHeadersReplyIsNoNews(t *testing.T) {
	path := install(t, t.TempDir(), "long.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhi'\nexec sleep 100\n")
	m := startWorker(t, path)
	c, done := m.connect()
	writeRequest(t, c, "", "REQUEST_METHOD=HEAD")
	b := make([]byte, 1000)
	n, err := c.Read(b)
	must(t, err)
	if !strings.HasSuffix(string(b[:n]), "\r\n\r\n") {
		t.Errorf("got %q", b[:n])
	}
	c.Close()
	m.await(done)
	m.wantNoLog()
}

func TestSlotsRunAtOnce(t *testing.T) {
	here, release := fifo(t, "here"), fifo(t, "release")
	path := install(t, t.TempDir(), "meet.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\necho here >"+here+"\nread x <"+release+"\necho $x\n")
	m := launch(t, "--slots", "4", path)
	if msg := m.await(m.said); !msg.Ready || msg.Slots != 4 {
		t.Fatalf("the worker said %+v", msg)
	}
	arrived, err := os.OpenFile(here, os.O_RDWR, 0)
	must(t, err)
	defer arrived.Close()
	must(t, arrived.SetReadDeadline(time.Now().Add(patience)))
	var ends []<-chan link.Message
	for range 4 {
		c, done := m.connect()
		writeRequest(t, c, "")
		ends = append(ends, done)
	}
	lines := bufio.NewReader(arrived)
	for range 4 { // all are there before any may go on
		_, err := lines.ReadString('\n')
		must(t, err)
	}
	go_, err := os.OpenFile(release, os.O_RDWR, 0)
	must(t, err)
	defer go_.Close()
	go_.WriteString(strings.Repeat("go\n", 4))
	for _, done := range ends {
		if msg := m.await(done); msg.Code != 200 {
			t.Errorf("CODE=%d", msg.Code)
		}
	}
}

func TestRequestsLeaveNothingBehind(t *testing.T) {
	path := install(t, t.TempDir(), "cat.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nexec cat\n")
	m := startWorker(t, path)
	ask := func(n int) {
		for i := range n {
			m.ask(strings.Repeat("x", i%3*40000), "REQUEST_METHOD=POST")
		}
	}
	ask(6)
	before := descriptors(t, m.cmd.Process.Pid)
	ask(200)
	if after := descriptors(t, m.cmd.Process.Pid); after != before {
		t.Errorf("the worker had %d descriptors, and has %d after 200 requests", before, after)
	}
	if n := children(m.cmd.Process.Pid); n != 0 {
		t.Errorf("the worker has %d children", n)
	}
}

func TestEndFinishesWhatIsHeld(t *testing.T) {
	for name, end := range map[string]func(*testMaster) error{
		"end of file": func(m *testMaster) error { return link.Retire(m.fd) },
		"SIGTERM":     func(m *testMaster) error { return m.cmd.Process.Signal(unix.SIGTERM) },
	} {
		here, release := fifo(t, "here"), fifo(t, "release")
		path := install(t, t.TempDir(), "hold.sh", "#!/bin/sh\necho here >"+here+"\nread x <"+release+"\nprintf 'Content-Type: text/plain\\n\\nhi'\n")
		m := startWorker(t, path)
		c, done := m.connect()
		writeRequest(t, c, "")
		m.hear(here)
		must(t, end(m))
		m.tell(release, "go\n")
		text, err := io.ReadAll(c)
		must(t, err)
		if r := readReply(t, text); r.body != "hi" {
			t.Errorf("%s: got %+v", name, r)
		}
		m.await(done)
		if err := m.wait(); err != nil {
			t.Errorf("%s: the worker ended with %v", name, err)
		}
	}
}

func TestBadStartIsToldToTheMaster(t *testing.T) {
	for want, args := range map[string][]string{
		"name a PROGRAM, or --root DIR":                  {},
		"unknown flag: --bad":                            {"--bad"},
		"--slots 0 is not within 1 to 4096":              {"--slots", "0", "/bin/true"},
		"cannot find the program":                        {"/nonexistent/program"},
		"is ./serve_test.go meant?":                      {"serve_test.go"},
		"open /nonexistent: no such file":                {"--root", "/nonexistent"},
		`--env "1=2" is not NAME=VALUE`:                  {"--env", "1=2", "/bin/true"},
		`unexpected argument "x"`:                        {"--root", "/", "x"},
		"--index goes with --root only":                  {"--index", "x", "/bin/true"},
		`--pass-request-var "*" is not`:                  {"--pass-request-var", "*", "/bin/true"},
		`--pass-request-var "LD*" is not`:                {"--pass-request-var", "LD*", "/bin/true"},
		`--pass-request-var "A B" is not`:                {"--pass-request-var", "A B", "/bin/true"},
		"the option for that is --pass-authorization":    {"--pass-request-var", "HTTP_AUTHORIZATION", "/bin/true"},
		"programs never get this variable":               {"--pass-request-var", "REDIRECT_HTTP_PROXY", "/bin/true"},
		"--follow-links-to /none: lstat /none: no such":  {"--root", "/", "--follow-links-to", "/none"},
		`--pass-env "A=B" is not the name of a variable`: {"--pass-env", "A=B", "/bin/true"},
	} {
		t.Run(want, func(t *testing.T) {
			ours := launch(t, args...)
			ours.mayFail = true
			if msg := ours.await(ours.said); !strings.Contains(string(msg.Failed), want) {
				t.Errorf("FAILED=%s", msg.Failed)
			}
			if err := ours.wait(); err == nil {
				t.Error("the worker's exit status is 0")
			}
		})
	}
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(t, err)
	return len(entries)
}

// children counts a process's children, zombies included.
func children(pid int) (n int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, _ := os.ReadFile(name)
		_, rest, _ := strings.Cut(string(text), ") ")
		var state string
		var parent int
		if fmt.Sscan(rest, &state, &parent); parent == pid {
			n++
		}
	}
	return n
}
