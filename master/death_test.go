package master

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

// beginOnce runs a pool of one whose first worker is of this kind, with a path
// of the test's as its argument, and whose next ones are plain.
func beginOnce(t *testing.T, kind string) (r *rig, odd peer, path string) {
	t.Helper()
	r, listeners := newRig(t, 1)
	path = filepath.Join(r.dir, "told")
	set := settings("once@" + r.dir + "@" + kind + ":" + path)
	oneWorker(&set)
	set.QueueMax = 10
	r.start(set, listeners...)
	r.idle(1)
	return r, r.next(), path
}

// executed fails unless the workers ran what noted key this often.
func (r *rig) executed(note, key string, times int) {
	r.t.Helper()
	if got := strings.Count(strings.Join(r.lines(note), " "), key); got != times {
		r.t.Errorf("%s was executed %d times, want %d", key, got, times)
	}
}

func TestWhatADeadWorkerDidNotReceiveIsServedByAnother(t *testing.T) {
	checkFDs(t)
	r, odd, _ := beginOnce(t, "plain")
	r.signal(odd, unix.SIGSTOP)
	note := filepath.Join(r.dir, "note")
	c := r.send("/note", "NOTE", note, "KEY", "a")
	r.until("passed", func(s control.Status, _ Counters) bool { return s.Workers.Busy == 1 })
	r.signal(odd, unix.SIGKILL)
	r.want(c, "200 OK")
	r.executed(note, "a", 1)
	if c := r.counters(); c.Retried != 1 || c.Lost != 0 {
		t.Errorf("%+v", c)
	}
}

func TestWhatADeadWorkerDidNotReadIsServedByAnother(t *testing.T) {
	for _, body := range []int{0, 100} {
		t.Run(fmt.Sprint(body), func(t *testing.T) {
			checkFDs(t)
			r, odd, held := beginOnce(t, "hold")
			note := filepath.Join(r.dir, "note")
			c := r.dial()
			c.Write(append(request("/note/body", "NOTE", note, "KEY", "a", "CONTENT_LENGTH", fmt.Sprint(body)), make([]byte, body)...))
			r.file(held)
			r.signal(odd, unix.SIGKILL)
			if got := r.want(c, "200 OK"); got != fmt.Sprint(body, " <nil>") {
				t.Errorf("the body came as %q", got)
			}
			r.executed(note, "a", 1)
			if c := r.counters(); c.Retried != 1 || c.Lost != 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestWhatADeadWorkerReadIsNeverDispatchedAgain(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", fixed(2))
	r.idle(2)
	note := filepath.Join(r.dir, "note")
	for i := range 3 {
		c := r.send("/note/die", "NOTE", note, "KEY", "a")
		if status, _, err := answer(c); status != "" {
			t.Errorf("got %q, %v", status, err)
		}
		r.until("counted", func(s control.Status, c Counters) bool { return c.Lost == uint64(i+1) })
	}
	r.get("/")
	r.executed(note, "a", 3)
	if c := r.counters(); c.Retried != 0 {
		t.Errorf("%+v", c)
	}
	r.logs("a request was lost with its worker")
}

// The worker has read the header and died. What lies in the socket now is the
// body: as long as the header was, and the same in its first 200 bytes.
func TestABodyIsNeverTakenForAHeader(t *testing.T) {
	checkFDs(t)
	r, odd, read := beginOnce(t, "readhead")
	note := filepath.Join(r.dir, "note")
	header := func(key string) []byte {
		return request("/note", "PAD", strings.Repeat("x", 200), "NOTE", note, "KEY", key, "CONTENT_LENGTH", "500")
	}
	head, body := header("a"), header("b")
	c := r.dial()
	c.Write(head)
	r.file(read)
	c.Write(append(body, make([]byte, 500-len(body))...))
	r.signal(odd, unix.SIGKILL)
	if status, _, err := answer(c); status != "" {
		t.Errorf("got %q, %v", status, err)
	}
	r.get("/")
	r.executed(note, "a", 0)
	r.executed(note, "b", 0)
	if c := r.counters(); c.Lost != 1 || c.Retried != 0 {
		t.Errorf("%+v", c)
	}
}

// While anybody of its group may be there, nobody can say what was read.
func TestADeadWorkersConnectionsWaitForTheEndOfItsGroup(t *testing.T) {
	checkFDs(t)
	r, odd, held := beginOnce(t, "family")
	c := r.send("/")
	r.file(held)
	unreceived := r.send("/")
	r.loopUntil("both are passed", func(l *loop) bool { return len(l.workers.all[0].conns) == 2 })
	r.signal(odd, unix.SIGKILL)
	r.want(unreceived, "200 OK") // nobody else has seen it
	r.loopUntil("it is closed", openIs(1))
	var looks []Time
	r.loopUntil("looks at the group", func(l *loop) bool {
		if n := l.workers.awaiting.first; n != nil && (len(looks) == 0 || looks[len(looks)-1] != n.at) {
			looks = append(looks, n.at)
		}
		return len(looks) > 4
	})
	if c := r.counters(); c.Retried != 1 || c.Served != 1 || c.Lost != 0 {
		t.Errorf("decided while the group was there: %+v", c)
	}
	b, err := os.ReadFile(held + ".pid")
	if err != nil {
		t.Fatal(err)
	}
	uncle, err := strconv.Atoi(string(b))
	if err != nil {
		t.Fatal(err)
	}
	unix.Kill(uncle, unix.SIGKILL)
	r.want(c, "200 OK")
	if c := r.counters(); c.Retried != 2 || c.Lost != 0 {
		t.Errorf("%+v", c)
	}
	r.until("both are reaped", func(_ control.Status, c Counters) bool { return c.Orphans == 2 })
}

func TestAGroupThatDoesNotEndIsNotWaitedForForEver(t *testing.T) {
	checkFDs(t)
	r, odd, held := beginOnce(t, "family")
	c := r.send("/")
	r.file(held)
	r.signal(odd, unix.SIGKILL)
	r.loopUntil("looks at the group", func(l *loop) bool { return l.workers.awaiting.len == 1 })
	r.skip(groupLimit)
	if status, _, err := answer(c); status != "" {
		t.Errorf("got %q, %v", status, err)
	}
	if c := r.counters(); c.Lost != 1 || c.Retried != 0 {
		t.Errorf("%+v", c)
	}
	b, err := os.ReadFile(held + ".pid")
	if err != nil {
		t.Fatal(err)
	}
	uncle, _ := strconv.Atoi(string(b))
	unix.Kill(uncle, unix.SIGKILL)
	r.until("both are reaped", func(_ control.Status, c Counters) bool { return c.Orphans == 2 })
}

// What a worker has said is heard, even if its end is seen first.
func TestDoneJustBeforeDeathCounts(t *testing.T) {
	checkFDs(t)
	r, _, held := beginOnce(t, "donedie")
	if err := unix.Mkfifo(held+".go", 0o600); err != nil {
		t.Fatal(err)
	}
	var all []net.Conn
	for range 3 {
		all = append(all, r.send("/"))
	}
	r.file(held)
	r.inLoop(func(l *loop) { // the loop sees all of it at once, afterwards
		tellFIFO(t, held+".go")
		end := []unix.PollFd{{Fd: int32(l.workers.all[0].proc.FD), Events: unix.POLLIN}}
		for n := 0; n != 1; n, _ = unix.Poll(end, 20_000) {
		}
	})
	for _, c := range all {
		r.want(c, "200 OK")
	}
	r.until("counted", func(_ control.Status, c Counters) bool { return c.Served+c.Lost+c.Retried == 3 })
	// The code is what only DONE tells.
	if c := r.counters(); c.Served != 3 || c.Codes[2] != 3 {
		t.Errorf("%+v", c)
	}
}

// tellFIFO lets the reader of a FIFO go on.
func tellFIFO(t *testing.T, path string) {
	if err := os.WriteFile(path, nil, 0); err != nil {
		t.Error(err)
	}
}

func TestOrphansOfWorkersAreReaped(t *testing.T) {
	if !alone(t, nil) {
		return
	}
	r := begin(t, "plain", oneWorker)
	for range 5 {
		r.get("/orphan")
	}
	r.until("reaped", func(_ control.Status, c Counters) bool { return c.Orphans == 5 })
	r.stopped()
	if left := children(t); len(left) != 0 {
		t.Errorf("children are left: %v", left)
	}
}

// children are the pids of this process's, zombies too.
func children(t *testing.T) (pids []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(files) == 0 {
		t.Fatal("needs /proc with children files", err)
	}
	for _, name := range files {
		b, _ := os.ReadFile(name)
		pids = append(pids, strings.Fields(string(b))...)
	}
	return pids
}
