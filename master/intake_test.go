package master

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"golang.org/x/sys/unix"
)

func oneWorker(s *Settings) { s.Limits = control.Limits{MinWorkers: 1, MaxWorkers: 1, MaxIdle: 1} }

// What finds no room is accepted later, without a further event.
func TestManyConnectionsAtOnceAreAllServed(t *testing.T) {
	checkFDs(t)
	r, listeners := newRig(t, 1)
	set := settings("plain")
	oneWorker(&set)
	set.QueueMax = 3 // far less than come at once
	var all []net.Conn
	for range 300 {
		all = append(all, r.send("/"))
	}
	r.start(set, listeners...)
	for _, c := range all {
		r.want(c, "200 OK")
	}
}

func TestListenersAreServedInTurn(t *testing.T) {
	checkFDs(t)
	r, listeners := newRig(t, 2)
	set := settings("plain")
	oneWorker(&set)
	note := filepath.Join(r.dir, "note")
	var all []net.Conn
	for i, from := range listeners {
		for range 20 {
			c := r.dialTo(from.Addr)
			c.Write(request("/note", "NOTE", note, "KEY", fmt.Sprint(i)))
			all = append(all, c)
		}
	}
	r.start(set, listeners...)
	for _, c := range all {
		r.want(c, "200 OK")
	}
	got := strings.Join(r.lines(note), "")
	if got != strings.Repeat("10", 20) && got != strings.Repeat("01", 20) {
		t.Errorf("served in the order %s", got)
	}
}

// overfull begins with one worker at work, three requests in the queue and seven
// more in the backlog. let ends the work.
func overfull(t *testing.T) (r *rig, all []net.Conn, let func()) {
	t.Helper()
	r = begin(t, "plain", func(s *Settings) { oneWorker(s); s.QueueMax = 3 })
	held, let := r.held("fifo")
	for range 10 {
		all = append(all, r.send("/"))
	}
	r.until("queue is full", func(s control.Status, _ Counters) bool { return s.Queue.Waiting == 3 })
	return r, append(all, held), let
}

func TestQueueMaxBoundsWhatIsAccepted(t *testing.T) {
	checkFDs(t)
	r, all, let := overfull(t)
	for range 20 { // turns in which it could take more
		if got := r.counters().Accepted; got != 1+3 {
			t.Fatalf("%d accepted, want the held one and three in the queue", got)
		}
	}
	let()
	for _, c := range all {
		r.want(c, "200 OK")
	}
}

// The kernel tells of a backlog as long as there is one. A loop that has no room
// for it does not go round and round, and hears of the next connection when
// there is room again.
func TestABacklogWithoutRoomDoesNotSpinTheLoop(t *testing.T) {
	checkFDs(t)
	r, all, let := overfull(t)
	turn := func() (n uint64) { r.inLoop(func(l *loop) { n = l.intake.turn }); return n }
	const asked = 200
	before := turn()
	for range asked {
		turn()
	}
	if more := turn() - before; more > asked+50 {
		t.Errorf("%d turns for %d questions", more, asked)
	}
	let()
	for _, c := range all {
		r.want(c, "200 OK")
	}
	r.get("/")
}

// Most connections come alone, and a second accept only tells that.
func TestAcceptIsTriedAgainOnlyInACrowd(t *testing.T) {
	from := &listener{watched: true}
	rings := func(turn uint64, crowd bool) {
		t.Helper()
		from.readable(turn)
		from.tookOne(turn)
		if from.pending != crowd {
			t.Errorf("turn %d: tries again: %v, want %v", turn, from.pending, crowd)
		}
	}
	rings(10, false)
	rings(12, false)
	rings(13, true) // more at once
	from.tookOne(13)
	from.drained()
	rings(20, true) // as the last time
	from.drained()
	rings(30, false) // that was one alone
	from.watched = false
	from.tookOne(31)
	if !from.pending {
		t.Error("a listener that is not heard is given up before its backlog was seen empty")
	}
}

// While the kernel passes nothing, idle workers are no reason to accept.
func TestQueueMaxHoldsWhileTheKernelIsBusy(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) { oneWorker(s); s.QueueMax = 3 })
	r.idle(1)
	r.inLoop(func(l *loop) { l.alarms[passDue] = l.now + time.Hour })
	var all []net.Conn
	for range 10 {
		all = append(all, r.send("/"))
	}
	r.until("queue is full", func(s control.Status, _ Counters) bool { return s.Queue.Waiting >= 3 })
	for range 20 {
		if got := r.counters().Accepted; got != 3 {
			t.Fatalf("%d accepted, want 3", got)
		}
	}
	r.inLoop(func(l *loop) { l.alarms[passDue] = 0 })
	for _, c := range all {
		r.want(c, "200 OK")
	}
}

func TestAFloodOfBadRequestsDelaysNobodyOnAnotherListener(t *testing.T) {
	checkFDs(t)
	r, listeners := newRig(t, 2)
	set := settings("plain")
	oneWorker(&set)
	r.start(set, listeners...)
	r.idle(1)
	let := r.holdIntake()
	for range 400 {
		c := r.dialTo(listeners[0].Addr)
		c.Write([]byte("hello"))
	}
	good := r.dialTo(listeners[1].Addr)
	good.Write(request("/conn"))
	let()
	if id := r.want(good, "200 OK"); id != "1" && id != "2" {
		t.Errorf("the good request was connection %s", id)
	}
	r.until("all are refused", func(_ control.Status, c Counters) bool { return c.Malformed == 400 })
}

// A listener may be shut down by somebody who has it too, or a security module may
// forbid it for a while: others are served meanwhile, without a spin, and it is
// taken up again when that is over.
func TestABrokenListenerIsTakenUpAgain(t *testing.T) {
	checkFDs(t)
	r := beginTCP(t, "plain", oneWorker)
	r.get("/")
	fd := r.loop.intake.listeners[0].FD
	if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	r.logs("cannot accept connections, trying again")
	turns := func() (n uint64) { r.inLoop(func(l *loop) { n = l.intake.turn }); return n }
	before := turns()
	time.Sleep(300 * time.Millisecond) // the window that is measured
	if n := turns() - before; n > 30 {
		t.Errorf("the loop went round %d times meanwhile", n)
	}
	for range 3 {
		r.skip(listenPause)
	}
	if err := unix.Listen(fd, 16); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd) // it has another port now
	if err != nil {
		t.Fatal(err)
	}
	r.addr = fmt.Sprint("127.0.0.1:", sa.(*unix.SockaddrInet4).Port)
	c := r.send("/")
	r.skip(listenPause)
	r.want(c, "200 OK")
	r.get("/") // and is heard
	if n := strings.Count(r.log.String(), "cannot accept"); n != 1 {
		t.Errorf("the log says so %d times", n)
	}
}

// A closed connection is room: nobody waits for the rest of the pause.
func TestIntakeGoesOnWhenAConnectionCloses(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", nil)
	held, let := r.held("fifo")
	r.holdIntake() // for an hour
	next := r.send("/")
	let()
	r.want(held, "200 OK")
	r.want(next, "200 OK")
}

func TestWithoutDescriptorsIntakePausesAndGoesOn(t *testing.T) {
	if !alone(t, nil) {
		return
	}
	r := begin(t, "plain", func(s *Settings) { s.QueueMax = 1000 })
	r.idle(1)
	let := r.holdIntake()
	var all []net.Conn
	for range 60 {
		all = append(all, r.dial())
	}
	// Room for a few of them.
	probe, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(probe)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = uint64(probe + 6)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	let()
	r.until("intake pauses", func(_ control.Status, c Counters) bool { return c.Pauses > 0 })
	before, pauses, began := cpu(t), r.counters().Pauses, time.Now()
	time.Sleep(500 * time.Millisecond) // the window that is measured
	used, more := cpu(t)-before, r.counters().Pauses-pauses
	if most := uint64(time.Since(began)/acceptPause) + 2; more > most || used > 150*time.Millisecond {
		t.Errorf("tried %d times, used %v of CPU", more, used)
	}
	for _, c := range all {
		c.Write(request("/"))
	}
	for _, c := range all {
		r.want(c, "200 OK")
	}
	r.until("all are counted", func(_ control.Status, c Counters) bool { return c.Served == 60 && c.Accepted == 60 })
	if n := strings.Count(r.log.String(), "out of file descriptors"); n != 1 {
		t.Errorf("the log says so %d times", n)
	}
}
