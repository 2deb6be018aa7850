package worker

import (
	"io"
	"net/http"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/worker/link"
)

// newPage makes a page, which Open finds in the environment.
func newPage(t *testing.T) *link.Page {
	t.Helper()
	fd, err := unix.MemfdCreate("page", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err == nil {
		_, err = unix.Pwrite(fd, link.PageContent(), 0)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := link.MapPage(fd) // the worker takes the descriptor
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	t.Setenv(link.EnvPage, strconv.Itoa(fd))
	return p
}

// serveSlot is serve with a page, of which all connections have one slot.
func serveSlot(t *testing.T, slot int, h func(*link.Page, http.ResponseWriter, *http.Request)) (*master, *link.Page) {
	t.Helper()
	checkFDs(t)
	p := newPage(t)
	m, _ := serveUnchecked(t, func(w http.ResponseWriter, r *http.Request) { h(p, w, r) })
	m.slot = slot
	return m, p
}

func progress(t *testing.T, p *link.Page, slot int, id uint64) link.Progress {
	t.Helper()
	is, err := p.Read(slot, id)
	if err != nil {
		t.Error(err)
	}
	is.Ended = 0
	return is
}

func TestAMasterThatDoesNotWaitFindsItInThePage(t *testing.T) {
	const slot = 17
	id := uint64(0)
	m, p := serveSlot(t, slot, func(p *link.Page, w http.ResponseWriter, r *http.Request) {
		id++
		if is := progress(t, p, slot, id); is != (link.Progress{}) {
			t.Errorf("before the first byte: %+v", is)
		}
		if id == 4 {
			p.Ask()
		}
		w.WriteHeader(201)
		io.WriteString(w, "hello")
		if is := progress(t, p, slot, id); is != (link.Progress{}) {
			t.Errorf("before the first byte was sent: %+v", is)
		}
		w.(http.Flusher).Flush()
		if is := progress(t, p, slot, id); is != (link.Progress{Begun: true}) {
			t.Errorf("after the first byte: %+v", is)
		}
	})
	for range 3 {
		client, id := m.dial("unix")
		client.Write(request("/", ""))
		if _, err := io.ReadAll(client); err != nil { // its end is not the master's duplicate's
			t.Fatal(err)
		}
		want := link.Progress{Begun: true, Finished: true, Code: 201, Bytes: 5}
		if is := progress(t, p, slot, id); is != want { // published before the end
			t.Errorf("finished: %+v, want %+v", is, want)
		}
	}
	client, last := m.dial("unix")
	client.Write(request("/", ""))
	if got := m.done(last); got.Code != 201 || got.Bytes != 5 {
		t.Errorf("told %+v", got)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.dones) != 1 {
		t.Errorf("told %d times, want once", len(m.dones))
	}
}

// Its reset comes when the master closes its duplicate.
func TestACutReplyIsToldInAnyCase(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			m, p := serveSlot(t, 0, func(_ *link.Page, w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "10")
				io.WriteString(w, "hello")
				w.(http.Flusher).Flush()
			})
			client, id := m.dial(network)
			client.Write(request("/", ""))
			if got := m.done(id); !got.Cut {
				t.Errorf("told %+v", got)
			}
			want := link.Progress{Begun: true, Finished: true, Cut: true, Code: 200, Bytes: 5}
			if is := progress(t, p, 0, id); is != want {
				t.Errorf("%+v, want %+v", is, want)
			}
		})
	}
}

// Reading and looking is not replying, writing by the descriptor is.
func TestAReplyByTheDescriptorHasBegun(t *testing.T) {
	checkFDs(t)
	p := newPage(t)
	m, worker := newMaster(t)
	defer m.close()
	m.slot = 3
	inherit(t, worker)
	w, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	client, id := m.dial("unix")
	client.Write(request("/", ""))
	c, err := w.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ReadRequest(0); err != nil {
		t.Fatal(err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(uintptr) {})
	if is := progress(t, p, 3, id); is.Begun {
		t.Error("begun by a look")
	}
	raw.Write(func(fd uintptr) bool { _, err = unix.Write(int(fd), []byte("Status: 200 OK\r\n\r\n")); return true })
	if is := progress(t, p, 3, id); !is.Begun || err != nil {
		t.Errorf("not begun: %v", err)
	}
}
