package python_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

// pageFile makes a page that begins with these bytes.
func pageFile(t testing.TB, begin string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("page", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	content := link.PageContent()
	copy(content, begin)
	if err == nil {
		_, err = unix.Pwrite(fd, content, 0)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "page")
	t.Cleanup(func() { f.Close() })
	return f
}

// launchPaged starts the worker with a page, and does not wait for READY.
func launchPaged(t testing.TB, page *os.File, text string, args ...string) *worker {
	t.Helper()
	return launchWith(t, func(cmd *exec.Cmd) {
		cmd.ExtraFiles = append(cmd.ExtraFiles, page)
		cmd.Env = append(cmd.Env, "SCGID_PAGE_FD=4")
	}, append([]string{python(t), "-S", "../scgi_wsgi.py", module(t, prelude+text)}, args...)...)
}

// servePaged is serve with a page, of which all connections have slot 5 unless
// the test says otherwise.
func servePaged(t testing.TB, text string, args ...string) (*worker, *link.Page) {
	t.Helper()
	file := pageFile(t, "")
	page, err := link.MapPage(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(page.Close)
	w := launchPaged(t, file, text, args...)
	w.slot = "\nSLOT=5"
	w.awaitReady()
	return w, page
}

// progress is what the page says of a request, less the time.
func (r *request) progress(page *link.Page, slot int) link.Progress {
	r.w.t.Helper()
	is, err := page.Read(slot, uint64(r.id))
	if err != nil {
		r.w.t.Error(err)
	}
	is.Ended = 0
	return is
}

// send passes a connection with a request and closes the master's descriptor at the end.
func (w *worker) sendPaged(request string) *request {
	w.t.Helper()
	r := w.open(false)
	w.t.Cleanup(func() { unix.Close(r.fd) })
	if _, err := io.WriteString(r.conn, request); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestWhatIsFinishedIsInThePageAndNotTold(t *testing.T) {
	w, page := servePaged(t, "def do_page(env, start): return reply(start, os.environ.get('SCGID_PAGE_FD', 'none'))")
	if !strings.Contains(w.ready, "\nPAGE=1") {
		t.Errorf("ready: %q", w.ready)
	}
	var all []*request
	for range 5 {
		r := w.sendPaged(get("page"))
		if got := body(r.read()); got != "none" {
			t.Errorf("the application sees the page: %q", got)
		}
		if is := r.progress(page, 5); is != (link.Progress{Begun: true, Finished: true, Code: 200, Bytes: 4}) {
			t.Errorf("finished: %+v", is)
		}
		all = append(all, r)
	}
	page.Ask()
	r := w.sendPaged(get("hello"))
	if done := <-r.done; done != fmt.Sprintf("DONE=%d\nCODE=200\nBYTES=5", r.id) {
		t.Errorf("asked, it says %q", done)
	}
	// The last of them may have seen the flag after its end.
	for _, r := range all[:len(all)-1] {
		if len(r.done) > 0 {
			t.Errorf("it was told of %d: %q", r.id, <-r.done)
		}
	}
	w.silent()
}

// The application has run, and a forked child of it has come back, before
// anything of the reply is sent.
func TestAReplyHasBegunBeforeItsFirstByte(t *testing.T) {
	w, page := servePaged(t, `
def do_slowly(env, start):
    if os.fork() == 0:
        return reply(start, "the child's")
    os.wait()
    print("waited", file=sys.stderr)
    env["wsgi.input"].read(1)
    start("200 OK", [("Content-Type", "text/plain")])(b"first ")
    env["wsgi.input"].read(1)
    return [b"last"]
`)
	r := w.sendPaged(strings.TrimSuffix(post("slowly", "ab"), "ab"))
	for more := w.stderr.more(); !strings.Contains(w.stderr.String(), "waited"); more = w.stderr.more() {
		<-more
	}
	if is := r.progress(page, 5); is != (link.Progress{}) {
		t.Errorf("before its first byte: %+v", is)
	}
	io.WriteString(r.conn, "a")
	var got strings.Builder
	for buf := make([]byte, 1000); !strings.Contains(got.String(), "first"); {
		n, err := r.conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(buf[:n])
	}
	if is := r.progress(page, 5); is != (link.Progress{Begun: true}) {
		t.Errorf("after its first byte: %+v", is)
	}
	io.WriteString(r.conn, "b")
	r.read()
	if is := r.progress(page, 5); !is.Finished || is.Bytes != 10 {
		t.Errorf("at its end: %+v", is)
	}
}

func TestACutReplyIsInThePageAndToldInAnyCase(t *testing.T) {
	w, page := servePaged(t, `
def do_cut(env, start):
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return [b"hello"]
`)
	r := w.sendPaged(get("cut"))
	r.read()
	if done := <-r.done; done != fmt.Sprintf("DONE=%d\nCODE=200\nBYTES=5\nCUT=1", r.id) {
		t.Errorf("it says %q", done)
	}
	if is := r.progress(page, 5); is != (link.Progress{Begun: true, Finished: true, Cut: true, Code: 200, Bytes: 5}) {
		t.Errorf("%+v", is)
	}
}

func TestThreadsHaveASlotEach(t *testing.T) {
	w, page := servePaged(t, "", "--threads", "8")
	const each = 50
	var all sync.WaitGroup
	var pass sync.Mutex
	for slot := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			for range each {
				pass.Lock()
				w.slot = fmt.Sprint("\nSLOT=", slot)
				r := w.sendPaged(get("hello"))
				pass.Unlock()
				if got := body(r.read()); got != "hello" {
					t.Errorf("got %q", got)
				}
				if is := r.progress(page, slot); is != (link.Progress{Begun: true, Finished: true, Code: 200, Bytes: 5}) {
					t.Errorf("slot %d: %+v", slot, is)
				}
			}
		}()
	}
	all.Wait()
	w.silent()
}

// A master that gives no slot gets DONE, and so does one whose page is of
// another version, or has fewer slots than the worker.
func TestWithoutASlotAllIsTold(t *testing.T) {
	for name, start := range map[string]func() *worker{
		"no slot":         func() *worker { w, _ := servePaged(t, ""); w.slot = ""; return w },
		"another version": func() *worker { w := launchPaged(t, pageFile(t, "SCGIDPG2"), ""); w.awaitReady(); return w },
		"more threads":    func() *worker { w, _ := servePaged(t, "", "--threads", "127"); w.slot = ""; return w },
	} {
		t.Run(name, func(t *testing.T) {
			w := start()
			if name != "no slot" && strings.Contains(w.ready, "PAGE") {
				t.Errorf("ready: %q", w.ready)
			}
			for range 3 {
				reply, done := w.ask(get("hello"))
				if body(reply) != "hello" || !strings.Contains(done, "CODE=200\nBYTES=5") {
					t.Errorf("got %q, %q", reply, done)
				}
			}
		})
	}
}

func TestWhatIsNotAPageIsRefusedWithTheReason(t *testing.T) {
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	w := launchPaged(t, null, "")
	if w.exit() == 0 || !strings.Contains(w.stderr.String(), "SCGID_PAGE_FD=4 is not a page: ") {
		t.Errorf("it says %q", w.stderr)
	}
}
