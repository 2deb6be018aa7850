package record

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/memfd"
	"golang.org/x/sys/unix"
)

// again opens the record behind r once more, as the next master does.
func again(t *testing.T, r *Record) (*Record, error) {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(r.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return Open(fd, "wiki")
}

func mustRecord(t *testing.T) *Record {
	t.Helper()
	r, err := New("wiki")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestRecordTellsTheNextMasterWhatWasWritten(t *testing.T) {
	checkFDs(t)
	r := mustRecord(t)
	if r.Crashed() != nil {
		t.Error("a new record tells of a crash")
	}
	configured := control.Limits{MinWorkers: 1, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}
	now := control.Limits{MinWorkers: 0, MaxWorkers: control.WorkersMax, MinIdle: 1, MaxIdle: 5}
	r.Begin(4711)
	r.SetLimits(now, configured)
	r.SetPause(77)
	r.SetAtRisk(3)
	r.SetAtWorkers(2)
	r.SetServed(1 << 40)
	next, err := again(t, r)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	l := next.Crashed()
	if l == nil || l.PID != 4711 || l.AtRisk != 3 || l.AtWorkers != 2 || l.Served != 1<<40 || !l.Paused || l.Resume != 77 {
		t.Fatalf("it says %+v", l)
	}
	if got := l.Limits.Apply(configured); got != now || l.Limits.MinIdle != nil {
		t.Errorf("limits %+v, want %+v", got, now)
	}
	// The first one, still there, sees the second at work: it is one page.
	next.Begin(4712)
	if r.page.get(wordPID) != 4712 || r.page.get(wordMasters) != 2 || next.Crashed() != nil {
		t.Errorf("pid %d, %d masters", r.page.get(wordPID), r.page.get(wordMasters))
	}
	next.End()
	third, err := again(t, r)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if third.Crashed() != nil {
		t.Error("a master that ended in order is said to have crashed")
	}
}

func TestRecordIsTheSameBytesOnEveryMachine(t *testing.T) {
	r := mustRecord(t)
	r.Begin(0x010203)
	if got := string(r.page.bytes()[:16]); got != "scgidrec\x02\x00\x00\x00\x00\x00\x00\x00" {
		t.Errorf("it begins with %q", got)
	}
	if got := string(r.page.bytes()[8*wordPID:][:8]); got != "\x03\x02\x01\x00\x00\x00\x00\x00" {
		t.Errorf("the pid is %q", got)
	}
}

func TestPackedLimitsAreThoseThatDiffer(t *testing.T) {
	pick := func() int { return [...]int{0, 1, 2, rand.Intn(control.WorkersMax), control.WorkersMax}[rand.Intn(5)] }
	for range 10000 {
		now := control.Limits{MinWorkers: pick(), MaxWorkers: pick(), MinIdle: pick(), MaxIdle: pick()}
		configured := control.Limits{MinWorkers: pick(), MaxWorkers: pick(), MinIdle: pick(), MaxIdle: pick()}
		c, ok := unpackLimits(packLimits(now, configured))
		if !ok || (c.MaxWorkers == nil) != (now.MaxWorkers == configured.MaxWorkers) ||
			c.MinWorkers != nil && *c.MinWorkers != now.MinWorkers || c.MaxIdle != nil && *c.MaxIdle != now.MaxIdle {
			t.Fatalf("%+v over %+v became %+v", now, configured, c)
		}
	}
}

func TestALimitOfRequestsIsKeptWhereItDiffers(t *testing.T) {
	for _, now := range []control.BusyLimit{control.BusyAuto, control.BusyOff, 1, control.WorkersMax} {
		for _, configured := range []control.BusyLimit{control.BusyAuto, control.BusyOff, 1} {
			got, ok := unpackBusy(packBusy(control.Limits{MaxBusy: now}, control.Limits{MaxBusy: configured}))
			if !ok || (got == nil) != (now == configured) || got != nil && *got != now {
				t.Errorf("%v over %v became %v, %v", now, configured, got, ok)
			}
		}
	}
}

// fileWith makes a file in memory with these seals and a record that would be
// believed, changed by edit and cut or filled up to size.
func fileWith(t *testing.T, seal, length int, edit func(*page)) int {
	t.Helper()
	fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	p := runningPage()
	if edit != nil {
		edit(&p)
	}
	if _, err := unix.Pwrite(fd, p.bytes(), 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, int64(length)); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seal); err != nil {
		t.Fatal(err)
	}
	return fd
}

// runningPage is the record of a master that has not ended.
func runningPage() (p page) {
	p.put(wordMagic, magic)
	p.put(wordVersion, version)
	p.put(wordPool, poolHash("wiki"))
	p.put(wordPID, 4711)
	p.put(wordState, stateRunning)
	return p
}

func openFile(t *testing.T, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestRecordThatCannotBeTrustedIsRefused(t *testing.T) {
	checkFDs(t)
	if r, err := Open(fileWith(t, int(memfd.Fixed), size, nil), "wiki"); err != nil || r.Crashed() == nil {
		t.Fatalf("the good one is refused: %v", err)
	} else {
		r.Close()
	}
	plain := filepath.Join(t.TempDir(), "plain")
	p := runningPage()
	if err := os.WriteFile(plain, p.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[1])
	word := func(word int, v uint64) int {
		return fileWith(t, int(memfd.Fixed), size, func(p *page) { p.put(word, v) })
	}
	tests := []struct {
		name string
		fd   int
		want string
	}{
		{"a plain file", openFile(t, plain, unix.O_RDWR), "it is not "},
		{"zeros without end", openFile(t, "/dev/zero", unix.O_RDWR), "it is not a file in memory"},
		{"nothing", openFile(t, "/dev/null", unix.O_RDWR), "it is not a file in memory"},
		{"a pipe", pipe[0], "it is not a file in memory"},
		{"not open", -1, "bad file descriptor"},
		{"without seals", fileWith(t, 0, size, nil), "it is not sealed"},
		{"can be cut", fileWith(t, unix.F_SEAL_GROW|unix.F_SEAL_SEAL, size, nil), "it is not sealed"},
		{"can be unsealed for all we know", fileWith(t, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK, size, nil), "it is not sealed"},
		{"cannot be written", fileWith(t, int(memfd.Fixed)|unix.F_SEAL_WRITE, size, nil), "mmap"},
		{"empty", fileWith(t, int(memfd.Fixed), 0, nil), "it has 0 bytes"},
		{"cut short", fileWith(t, int(memfd.Fixed), size-1, nil), "it has 4095 bytes"},
		{"too long", fileWith(t, int(memfd.Fixed), size+1, nil), "it has 4097 bytes"},
		{"zeros", fileWith(t, int(memfd.Fixed), size, func(p *page) { *p = page{} }), "it is something else"},
		{"noise", fileWith(t, int(memfd.Fixed), size, func(p *page) { rand.New(rand.NewSource(1)).Read(p.bytes()) }), "it is something else"},
		{"of another version", word(wordVersion, 1), "its layout has version 1"},
		{"of another pool", word(wordPool, 1), "it belongs to another pool"},
		{"in no state", word(wordState, states), "it makes no sense"},
		{"of no process", word(wordPID, 1<<32), "it makes no sense"},
		{"more than there can be", word(wordAtRisk, 1<<63), "it makes no sense"},
		{"an endless pause", word(wordPause, forever-1), "it makes no sense"},
		{"no such limit of requests", word(wordBusy, control.WorkersMax+3), "its limit of requests makes no sense"},
		{"no such limit", word(wordLimits, (control.WorkersMax+2)<<16), "its limits make no sense"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Open(tt.fd, "wiki")
			if err == nil {
				r.Close()
				t.Fatal("it is believed")
			}
			if !strings.HasPrefix(err.Error(), "cannot use the record of the previous master: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q", err, tt.want)
			}
		})
	}
}

// One that was opened for reading only must not be taken either: writing it
// would kill us.
func TestRecordThatIsOpenForReadingOnlyIsRefused(t *testing.T) {
	r := mustRecord(t)
	f, err := os.Open(fmt.Sprint("/proc/self/fd/", r.FD()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(fd, "wiki"); err == nil || !strings.Contains(err.Error(), "mmap: permission denied") {
		t.Errorf("error %v", err)
	}
}

// checkFDs fails the test if it leaves descriptors open.
func checkFDs(t *testing.T) {
	t.Helper()
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := count()
	t.Cleanup(func() {
		if after := count(); after != before {
			t.Errorf("%d descriptors are open, %d before", after, before)
		}
	})
}
