package master

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

// pageOnly is what workers do that have a page. It returns for those that go
// on as others.
func pageOnly(end *link.End, kind, arg string) {
	raw, err := unix.Mmap(process.PageFD, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == nil {
		err = end.UsePage()
	}
	if err != nil {
		panic(err)
	}
	next := func() (link.Packet, link.Mark) {
		end.Ready(1, "")
		p, _ := end.Receive()
		readHead(p.FD)
		return p, end.Mark(p)
	}
	switch kind {
	case "begun": // has begun a reply, of which nothing is written yet
		_, mark := next()
		mark.Begin()
	case "finished": // has published, and not shut down
		p, mark := next()
		mark.Begin()
		unix.Write(p.FD, []byte("Status: 200 OK\r\n\r\nall of it"))
		mark.Finish(201, 9, false)
	case "scribble": // fills its page while it holds a connection, with its id or without
		p, _ := next()
		state := ^uint64(0)
		if rest, own := strings.CutPrefix(arg, "own,"); own {
			state, arg = 1<<63|p.ID, rest
		}
		for at := 0; at < len(raw); at += 8 {
			binary.NativeEndian.PutUint64(raw[at:], state)
		}
	case "truncate": // takes the page away, as far as that goes
		next()
		for _, size := range []int64{0, 8, 1 << 20} {
			if err := unix.Ftruncate(process.PageFD, size); err == nil {
				panic("the page has another size")
			}
		}
	case "chatty": // wakes the master up for nothing
		end.Ready(1, "")
		for {
			p, err := end.Receive()
			if err != nil {
				os.Exit(0)
			}
			respond(end, p)
			for range 3 {
				end.Done(p.ID, 200, 0)
			}
		}
	case "lost": // never says DONE
		end.Ready(1, "")
		for {
			p, err := end.Receive()
			if err != nil {
				os.Exit(0)
			}
			mark := end.Mark(p)
			readHead(p.FD)
			mark.Begin()
			unix.Write(p.FD, []byte("Status: 200 OK\r\n\r\n"))
			mark.Finish(200, 0, false)
			unix.Shutdown(p.FD, unix.SHUT_RDWR)
			unix.Close(p.FD)
		}
	default:
		return
	}
	tell(arg)
	select {}
}

// A phase is how far a worker was with a request when it was killed.
var phases = []struct {
	kind          string
	status, body  string
	served, coded uint64 // coded: with a status
	lost, retried uint64
	times         int // the request was executed by another worker
}{
	{kind: "page!hold", status: "200 OK", served: 1, coded: 1, retried: 1, times: 1}, // not read
	{kind: "page!readhalf", status: "500 Internal Server Error", body: "The application has failed at this request.\n", lost: 1},
	{kind: "page!readhead", status: "500 Internal Server Error", body: "The application has failed at this request.\n", lost: 1},
	{kind: "page!begun", lost: 1},
	{kind: "page!finished", status: "200 OK", body: "all of it", served: 1, coded: 1},
	{kind: "page!cutshort", status: "200 OK", body: "abc", served: 1}, // it has ended its reply, and not published that
	{kind: "readhead", lost: 1}, // a worker without a page
}

func TestAKilledWorkersPageSaysWhatItsClientGets(t *testing.T) {
	for _, phase := range phases {
		t.Run(phase.kind, func(t *testing.T) {
			checkFDs(t)
			r, odd, told := beginOnce(t, phase.kind)
			note := filepath.Join(r.dir, "note")
			c := r.send("/note", "NOTE", note, "KEY", "a")
			r.file(told)
			r.signal(odd, unix.SIGKILL)
			status, body, err := answer(c)
			if status != phase.status || body != phase.body || err != nil {
				t.Errorf("got %q, %q, %v", status, body, err)
			}
			c.Close()
			r.loopUntil("all is closed", openIs(0))
			r.get("/")
			r.until("counted", func(_ control.Status, c Counters) bool { return c.Served == phase.served+1 })
			got := r.counters()
			if got.Lost != phase.lost || got.Retried != phase.retried || got.Codes[2] != phase.coded+1 || got.Violations != 0 || got.Accepted != 2 {
				t.Errorf("%+v", got)
			}
			r.executed(note, "a", phase.times)
		})
	}
}

// pagedDones returns how often the worker with the page has said DONE.
func (r *rig) pagedDones() (n uint64) {
	r.inLoop(func(l *loop) {
		for _, w := range l.workers.all {
			if w != nil && w.Paged {
				n += w.Dones
			}
		}
	})
	return n
}

func TestWhatIsFinishedCountsSoonWithoutDone(t *testing.T) {
	checkFDs(t)
	r := begin(t, "page!lost", func(s *Settings) { oneWorker(s); s.AccessLog = true })
	for n := range 3 {
		r.get(fmt.Sprint("/", n))
	}
	// Nobody asks the loop anything meanwhile: it looks by itself.
	for n := range 3 {
		r.logs(fmt.Sprint("uri=/", n))
	}
	r.idle(1)
	if c := r.counters(); c.Served != 3 || c.Codes[2] != 3 {
		t.Errorf("%+v", c)
	}
	if n := r.pagedDones(); n != 0 {
		t.Errorf("DONE was said %d times", n)
	}
}

// The time of a request is the worker's, not that of the look at its page.
func TestTheTimeOfARequestEndsInThePage(t *testing.T) {
	checkFDs(t)
	r := begin(t, "page!plain", oneWorker)
	c, let := r.held("fifo")
	r.inLoop(func(l *loop) {
		let()
		r.want(c, "200 OK") // so it is published
		l.host.began = l.host.began.Add(-time.Hour)
	})
	r.until("counted", func(_ control.Status, c Counters) bool { return c.Served == 1 })
	r.inLoop(func(l *loop) {
		if took := l.count.Service.Sum; took <= 0 || took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

func TestARequestThatTakesLongIsTold(t *testing.T) {
	checkFDs(t)
	r := begin(t, "page!plain", oneWorker)
	h := r.hold(1)[0]
	r.loopUntil("the worker is asked", func(l *loop) bool {
		return l.workers.pages.long.len == 1 && l.workers.all[0].asked == askedToStay
	})
	r.letGo(h)
	r.until("told", func(s control.Status, c Counters) bool { return c.Served == 1 && r.pagedDones() == 1 })
	r.get("/") // from here on nobody is asked
	r.until("counted", func(s control.Status, c Counters) bool { return c.Served == 2 })
	r.loopUntil("nobody is asked", func(l *loop) bool { return l.workers.all[0].asked == notAsked })
}

func TestAWorkerIsAskedAtOnceWhenSomebodyWaits(t *testing.T) {
	checkFDs(t)
	r := begin(t, "page!plain", oneWorker)
	h := r.hold(1)[0]
	c := r.send("/")
	r.until("waits", waitingIs(1))
	r.letGo(h)
	r.want(c, "200 OK")
	r.until("served", func(_ control.Status, c Counters) bool { return c.Served == 2 })
}

// Also with a worker that publishes and never wakes the master up.
func TestALostWakeUpIsFoundWhileSomebodyWaits(t *testing.T) {
	checkFDs(t)
	r := begin(t, "page!lost", func(s *Settings) { oneWorker(s); s.QueueMax = 10 })
	r.idle(1)
	var all []net.Conn
	let := r.holdIntake()
	for range 8 {
		all = append(all, r.send("/"))
	}
	let()
	for _, c := range all {
		r.want(c, "200 OK")
	}
	r.until("served", func(_ control.Status, c Counters) bool { return c.Served == 8 })
	if n := r.pagedDones(); n != 0 {
		t.Errorf("DONE was said %d times", n)
	}
}

func TestManyAtATimeFinishInTheirPages(t *testing.T) {
	for _, mode := range []string{"page!plain", "page!slots:7", fmt.Sprint("page!slots:", link.PageSlots), fmt.Sprint("page!slots:", link.PageSlots+1)} {
		t.Run(mode, func(t *testing.T) {
			checkFDs(t)
			r := begin(t, mode, fixed(3))
			r.idle(3)
			const clients, each = 16, 100
			var all sync.WaitGroup
			for range clients {
				all.Add(1)
				go func() {
					defer all.Done()
					for range each {
						if status, _ := r.try("/"); status != "200 OK" {
							t.Error(status)
						}
					}
				}()
			}
			all.Wait()
			r.idle(3)
			if c := r.counters(); c.Served != clients*each || c.Codes[2] != clients*each || c.Lost+c.Retried+c.Violations != 0 {
				t.Errorf("%+v", c)
			}
			r.loopUntil("nothing is looked for", func(l *loop) bool {
				return l.workers.pages.recent.len+l.workers.pages.long.len == 0 && l.conns.open == 0
			})
		})
	}
}

// A worker may write anything into its page. What it holds is lost, or its own
// client's, and nobody else notices.
func TestGarbageInAPageHurtsOnlyItsWorker(t *testing.T) {
	for kind, why := range map[string]string{"page!scribble:own,": "its page has the state", "page!scribble:": "", "page!truncate:": ""} {
		t.Run(kind, func(t *testing.T) {
			checkFDs(t)
			r, listeners := newRig(t, 1)
			told := filepath.Join(r.dir, "told")
			set := settings("once@" + r.dir + "@" + kind + told)
			fixed(2)(&set)
			r.start(set, listeners...)
			r.idle(2)
			// One goes to each of the two.
			fifo := filepath.Join(r.dir, "fifo")
			if err := unix.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			all := []net.Conn{r.send("/fifo", "FIFO", fifo), r.send("/fifo", "FIFO", fifo)}
			r.file(told)
			r.file(fifo + ".here")
			tellFIFO(t, fifo)
			for range 20 {
				r.get("/")
			}
			if why != "" {
				r.logs("killing a worker: protocol violation: " + why)
			} else {
				r.inLoop(func(l *loop) {
					for _, w := range l.workers.all {
						if w != nil && len(w.conns) == 1 {
							w.proc.Signal(unix.SIGKILL)
						}
					}
				})
			}
			for _, c := range all {
				answer(c)
				c.Close()
			}
			r.idle(2)
			r.get("/")
			r.until("counted", func(_ control.Status, c Counters) bool { return c.Served == 22 && c.Lost == 1 })
		})
	}
}

func TestMoreWakeUpsThanConnectionsAreAViolation(t *testing.T) {
	checkFDs(t)
	r := begin(t, "page!chatty", oneWorker)
	r.get("/")
	r.logs("DONE for a connection that it does not hold")
}

func TestTheNextMasterReadsThePages(t *testing.T) {
	both(t, "page!plain", fixed(3), func(t *testing.T, r *rig) {
		r.idle(3)
		before := r.workers()
		ends, letEnd := r.held("ends")
		goes, letGo := r.held("goes")
		stays, letStay := r.held("stays")
		waits := r.send("/pid")
		r.until("one waits", waitingIs(1))
		next := r.handOn(func() { // while nobody looks, and nobody could hear DONE
			letEnd()
			r.want(ends, "200 OK")
		})
		next.want(waits, "200 OK")
		letGo()
		next.want(goes, "200 OK")
		letStay()
		next.want(stays, "200 OK")
		next.get("/")
		next.idle(3)
		if after := next.workers(); len(after) != 3 || after[0].pid != before[0].pid || after[1].pid != before[1].pid || after[2].pid != before[2].pid {
			t.Errorf("workers %+v, were %+v", after, before)
		}
		if c := next.counters(); c.Served != 5 || c.Codes[2] != 5 || c.Lost+c.Retried+c.Violations != 0 {
			t.Errorf("%+v", c)
		}
		next.inLoop(func(l *loop) {
			for _, w := range l.workers.all {
				if !w.Paged {
					t.Errorf("worker %d has lost its page", w.ID)
				}
			}
		})
	})
}

// A worker that is told to leave finishes in its page, and that is seen even if it
// says nothing.
func TestALeavingWorkersLastRequestCounts(t *testing.T) {
	for _, mode := range []string{"page!plain", "page!slots:3"} {
		t.Run(mode, func(t *testing.T) {
			checkFDs(t)
			r := begin(t, mode, oneWorker)
			h := r.hold(1)[0]
			if err := r.Retire(t.Context(), r.workers()[0].id); err != nil {
				t.Fatal(err)
			}
			r.letGo(h)
			r.until("left", func(s control.Status, c Counters) bool { return c.Served == 1 && s.Exits["retired"] == 1 })
			if c := r.counters(); c.Lost+c.Retried != 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestAStopWaitsForWhatFinishesInAPage(t *testing.T) {
	checkFDs(t)
	r := begin(t, "page!plain", fixed(2))
	r.idle(2)
	held := r.hold(2)
	r.Finish()
	r.until("stopping", func(s control.Status, _ Counters) bool { return s.State == control.Draining })
	for _, h := range held {
		r.letGo(h)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
	<-r.done
	if c := r.loop.count.Counters; c.Served != 2 || c.Lost != 0 {
		t.Errorf("%+v", c)
	}
}

func TestAPoolWithPagesLeavesWhenIdle(t *testing.T) {
	checkFDs(t)
	r := begin(t, "page!lost", func(s *Settings) {
		s.Limits = control.Limits{MaxWorkers: 1, MaxIdle: 1}
		s.IdleExit = 100 * time.Millisecond
	})
	r.get("/")
	if err := r.end(); err != nil {
		t.Error(err)
	}
	<-r.done
	if c := r.loop.count.Counters; c.Served != 1 {
		t.Errorf("%+v", c)
	}
}

func TestAWorkerThatDoesNotUseItsPageKeepsNone(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", oneWorker)
	r.get("/")
	r.inLoop(func(l *loop) {
		if w := l.workers.all[0]; w.Page != -1 || w.page != nil || w.Paged {
			t.Errorf("page %d", w.Page)
		}
	})
}
