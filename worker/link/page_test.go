package link

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newPage makes a page as a master does; the descriptor is closed at the end.
func newPage(t testing.TB) (p *Page, fd int) {
	t.Helper()
	fd = pageFile(t, PageContent(), unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	p, err := MapPage(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, fd
}

func pageFile(t testing.TB, content []byte, seals int) int {
	t.Helper()
	fd, err := unix.MemfdCreate("page", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.Pwrite(fd, content, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return fd
}

// paged makes an End with a page, which the master has as p.
func paged(t testing.TB) (p *Page, e *End) {
	t.Helper()
	p, fd := newPage(t)
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(EnvPage, strconv.Itoa(dup))
	e = &End{fd: -1}
	if err := e.UsePage(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.page.Close)
	return p, e
}

func read(t testing.TB, p *Page, slot int, id uint64) Progress {
	t.Helper()
	is, err := p.Read(slot, id)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

func TestAPageSaysHowFarEachConnectionIs(t *testing.T) {
	checkFDs(t)
	p, e := paged(t)
	if _, ok := os.LookupEnv(EnvPage); ok {
		t.Error("the variable would reach a child")
	}
	for slot := range PageSlots {
		id := uint64(slot)<<40 + 7
		before := monotonic()
		m := e.Mark(Packet{ID: id, Slot: slot})
		if is := read(t, p, slot, id); is != (Progress{}) {
			t.Fatalf("slot %d before anything: %+v", slot, is)
		}
		m.Begin()
		m.Begin()
		if is := read(t, p, slot, id); is != (Progress{Begun: true}) {
			t.Fatalf("slot %d, begun: %+v", slot, is)
		}
		m.Finish(200+slot, int64(slot)<<30, slot%2 == 1)
		m.Begin() // of a goroutine that was left behind
		is := read(t, p, slot, id)
		if is.Ended < before || is.Ended > monotonic() {
			t.Fatalf("slot %d ended at %v", slot, is.Ended)
		}
		is.Ended = 0
		if is != (Progress{Begun: true, Finished: true, Code: 200 + slot, Bytes: int64(slot) << 30, Cut: slot%2 == 1}) {
			t.Fatalf("slot %d, finished: %+v", slot, is)
		}
	}
}

func TestAPageSaysNothingOfTheNextConnectionInASlot(t *testing.T) {
	p, e := paged(t)
	e.Mark(Packet{ID: 1, Slot: 3}).Finish(200, 1, false)
	if is := read(t, p, 3, 2); is != (Progress{}) {
		t.Errorf("of the next: %+v", is)
	}
	e.Mark(Packet{ID: 2, Slot: 3}).Begin()
	if is := read(t, p, 3, 2); is != (Progress{Begun: true}) {
		t.Errorf("of the next, begun: %+v", is)
	}
	if is := read(t, p, 3, 1); is != (Progress{}) {
		t.Errorf("of the one before: %+v", is)
	}
}

func TestOnlyWhoIsAskedIsAsked(t *testing.T) {
	p, e := paged(t)
	m := e.Mark(Packet{ID: 1})
	if m.Asked() {
		t.Error("asked by a new page")
	}
	p.Ask()
	if !m.Asked() {
		t.Error("not asked")
	}
	p.Unask()
	if m.Asked() {
		t.Error("asked still")
	}
}

// A worker without a page, or a connection without a slot, has DONE for all.
func TestWithoutAPageAllIsTold(t *testing.T) {
	_, e := paged(t)
	for _, m := range []Mark{{}, (&End{}).Mark(Packet{ID: 1}), e.Mark(Packet{ID: 1, Slot: NoSlot}), e.Mark(Packet{ID: 1, Slot: PageSlots})} {
		m.Begin()
		m.Finish(200, 1, false)
		if !m.Asked() {
			t.Error("not asked")
		}
	}
}

func TestReadySaysThatThereIsAPage(t *testing.T) {
	checkFDs(t)
	_, with := paged(t)
	master, e := end(t)
	e.page = with.page
	var r Receiver
	for slots, want := range map[int]bool{1: true, PageSlots: true, PageSlots + 1: false} {
		if err := e.Ready(slots, ""); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, &r, master); strings.Contains(got, "\nPAGE=1") != want {
			t.Errorf("%d slots: %q", slots, got)
		}
	}
}

func TestAPageThatCouldShrinkIsRefused(t *testing.T) {
	checkFDs(t)
	conn, _ := stream(t)
	for name, fd := range map[string]int{
		"unsealed": pageFile(t, PageContent(), unix.F_SEAL_GROW),
		"short":    pageFile(t, PageContent()[:pageSize-1], unix.F_SEAL_SHRINK),
		"a socket": conn, "closed": 987654,
	} {
		if p, err := MapPage(fd); err == nil {
			p.Close()
			t.Errorf("%s: taken for a page", name)
		}
	}
}

func TestAWorkerCannotTakeThePageAway(t *testing.T) {
	p, fd := newPage(t)
	for _, size := range []int64{0, 100, 2 * pageSize} {
		if err := unix.Ftruncate(fd, size); err != unix.EPERM {
			t.Errorf("to %d bytes: %v", size, err)
		}
	}
	read(t, p, PageSlots-1, 1) // which would be SIGBUS
}

func TestAPageOfAnotherVersionIsLeftAlone(t *testing.T) {
	checkFDs(t)
	fd, err := unix.MemfdCreate("page", unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	content := PageContent()
	content[7]++
	unix.Pwrite(fd, content, 0)
	unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	t.Setenv(EnvPage, strconv.Itoa(fd))
	e := &End{fd: -1}
	if err := e.UsePage(); err != nil || e.page != nil {
		t.Errorf("page %v, error %v", e.page, err)
	}
}

// garbage fills the words of a slot.
func garbage(p *Page, slot int, words ...uint64) {
	for i, v := range words {
		p.words.store(firstSlot+slot*slotWords+i, v)
	}
}

func TestGarbageInAPageIsAViolation(t *testing.T) {
	p, _ := newPage(t)
	for _, words := range [][]uint64{
		{7 | 1<<63}, {7 | 1<<59}, {7 | 1<<58}, {7 | isEnded | 1000<<codeShift}, {7 | isEnded, 1<<62 + 1}, {7 | isEnded, 1 << 63},
	} {
		garbage(p, 2, words...)
		_, err := p.Read(2, 7)
		var violation *ParseError
		if !errors.As(err, &violation) {
			t.Errorf("%#x: %v, want a *ParseError", words, err)
		}
		if is, err := p.Read(2, 8); is != (Progress{}) || err != nil {
			t.Errorf("%#x, of another connection: %+v %v", words, is, err)
		}
	}
}

func FuzzPage(f *testing.F) {
	p, _ := newPage(f)
	f.Add(PageContent()[:64], uint64(0))
	f.Add(binary.NativeEndian.AppendUint64(nil, 5|isBegun|isEnded|200<<codeShift), uint64(5))
	f.Add(binary.NativeEndian.AppendUint64(nil, 1<<64-1), uint64(idMask))
	f.Fuzz(func(t *testing.T, b []byte, id uint64) {
		copy(p.mem[:cap(p.mem)], b)
		copy(p.mem[firstSlot*8:], b)
		for slot := range PageSlots {
			is, err := p.Read(slot, id)
			var violation *ParseError
			if err != nil && (!errors.As(err, &violation) || len(violation.Reason) > 400 || is != (Progress{})) {
				t.Fatalf("error %v with %+v", err, is)
			}
			if is.Code < 0 || is.Code > 999 || is.Bytes < 0 || is.Ended < 0 || !is.Finished && (is.Bytes != 0 || is.Ended != 0) {
				t.Fatalf("out of bounds: %+v", is)
			}
		}
	})
}

func TestAPageAllocatesNothing(t *testing.T) {
	p, e := paged(t)
	id := uint64(0)
	if n := testing.AllocsPerRun(100, func() {
		id++
		m := e.Mark(Packet{ID: id, Slot: 1})
		m.Begin()
		m.Finish(200, 5, false)
		p.Ask()
		if is, err := p.Read(1, id); err != nil || !is.Finished || !m.Asked() {
			t.Error(is, err)
		}
		p.Unask()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

const wakeEnv = "SCGID_TEST_WAKE"

// wakeWorker serves connections as a worker with a page does, in a process of its own.
func wakeWorker(t *testing.T) {
	e, err := Inherit()
	if err == nil {
		err = e.UsePage()
	}
	if err != nil {
		t.Fatal(err)
	}
	for {
		c, err := e.Receive()
		if err != nil {
			return
		}
		m := e.Mark(c)
		for range rand.IntN(200) {
			runtime.KeepAlive(c)
		}
		m.Finish(200, 0, false)
		unix.Close(c.FD)
		if m.Asked() {
			if err := e.Done(c.ID, 200, 0); err != nil {
				return
			}
		}
	}
}

// A master that has asked, read all and seen nothing must be told. Here the
// two sides meet at every point of each other's way, and nobody looks again.
func TestNoWakeUpIsLost(t *testing.T) {
	if os.Getenv(wakeEnv) != "" {
		wakeWorker(t)
		return
	}
	rounds := 30_000
	if testing.Short() {
		rounds = 3000
	}
	if n, err := strconv.Atoi(os.Getenv("SCGID_SOAK")); err == nil && n > 0 {
		rounds = 3_000_000
	}
	checkFDs(t)
	p, fd := newPage(t)
	master, worker, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	conn, _ := stream(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestNoWakeUpIsLost$")
	cmd.Env = append(os.Environ(), wakeEnv+"=1", EnvFD+"=3", EnvPage+"=4")
	theirs, page := os.NewFile(uintptr(worker), "link"), os.NewFile(uintptr(fd), "page")
	cmd.ExtraFiles = []*os.File{theirs, page}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	defer func() { unix.Close(master); cmd.Wait(); page.Close() }()

	var s Sender
	var r Receiver
	slept, told := 0, 0
	for id := uint64(1); id <= uint64(rounds); id++ {
		slot := int(id % PageSlots)
		if err := s.SendConn(master, id, 0, slot, conn); err != nil {
			t.Fatal(err)
		}
		for range rand.IntN(20_000) {
			runtime.KeepAlive(id)
		}
		p.Ask()
		if !read(t, p, slot, id).Finished {
			slept++
			told += awaitWake(t, &r, p, master, slot, id)
		}
		p.Unask()
	}
	t.Logf("%d rounds: the master waited in %d, and was told %d times", rounds, slept, told)
	if slept == 0 || slept == rounds {
		t.Error("the two sides have never met")
	}
}

// awaitWake waits until the worker has said that connection id is finished, and
// returns how many messages there were: one about an earlier one may be late, as
// the master had seen that by itself.
func awaitWake(t *testing.T, r *Receiver, p *Page, master, slot int, id uint64) (told int) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(master), Events: unix.POLLIN}}, 10_000)
		if n == 0 && err == nil {
			t.Fatalf("a wake-up was lost in round %d; finished: %v", id, read(t, p, slot, id).Finished)
		}
		packet, err := r.Receive(master)
		if err == ErrEmpty {
			continue
		}
		m, perr := Parse(packet)
		if err = errors.Join(err, perr); err != nil {
			t.Fatal(err)
		}
		if told++; m.Done != id {
			continue
		}
		if !read(t, p, slot, id).Finished {
			t.Fatalf("woken in round %d, and nothing is finished", id)
		}
		return told
	}
}
