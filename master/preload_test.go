package master

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

// oddMaker is a preloaded process that makes no workers, each in its own way, where
// it is asked to be one.
func oddMaker(kind, how string) {
	say := func(text string) { unix.Sendto(process.LinkFD, []byte(text), unix.MSG_NOSIGNAL, nil) }
	level := os.Getenv(link.EnvPreload)
	switch {
	case kind == "unasked":
		say("READY=1\nPRELOAD=worker")
	case kind != "maker" || level == "":
		return
	case how == "refuses":
		say("REFUSED=it has a thread 'beat'")
		os.Exit(0)
	case how == "ends":
		say("PRELOAD=" + level)
		os.Exit(1)
	default:
		say("READY=1\nPRELOAD=" + level)
	}
	if how == "chats" {
		say("STATUS=well")
	}
	buf, oob := make([]byte, link.MaxMessage), make([]byte, unix.CmsgSpace(4*4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(process.LinkFD, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			os.Exit(0)
		}
		var fds []int
		if all, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(all) > 0 {
			fds, _ = unix.ParseUnixRights(&all[0])
		}
		first, _, _ := bytes.Cut(buf[:n], []byte("\n"))
		if bytes.HasPrefix(first, []byte("WORKER=")) {
			switch how {
			case "denies":
				say(string(first) + "\nFAILED=cannot fork: no memory")
			case "dies":
				unix.Kill(os.Getpid(), unix.SIGKILL)
			case "is it itself":
				unix.Sendto(fds[0], []byte("STARTED=1"), 0, nil)
			case "garbles":
				unix.Sendto(fds[0], []byte("READY=1"), 0, nil)
			}
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

func TestWorkersAreExecutedWherePreloadingIsOfNoUse(t *testing.T) {
	for how, c := range map[string]struct{ log, level string }{
		"refuses":      {"workers load it themselves: it has a thread 'beat'", ""},
		"ends":         {"", ""},
		"chats":        {"killing a preloaded process: protocol violation: ", ""},
		"mute":         {"killing a preloaded process: it did not make a worker within 5s", ""},
		"dies":         {"preloaded process killed by SIGKILL", ""},
		"is it itself": {"STARTED=1 came from another process", ""},
		"garbles":      {"its first message is not STARTED=1", ""},
		"denies":       {"which is executed: cannot fork: no memory", preloadWorker},
	} {
		t.Run(how, func(t *testing.T) {
			checkFDs(t)
			r := begin(t, "maker:"+how, func(s *Settings) { fixed(2)(s); s.Preload = preloadWorker; s.StartTimeout = time.Hour })
			r.until("two workers", func(s control.Status, _ Counters) bool {
				r.inLoop(func(l *loop) {
					if next := l.workers.forks.next(); next != 0 || l.backoff.Failures > 0 {
						l.host.began = l.host.began.Add(-forkWithin)
						l.now = l.host.clock()
					}
				})
				return s.Workers.Idle == 2
			})
			r.get("/")
			if c.log != "" {
				r.logs(c.log)
			}
			c0 := r.counters()
			if (how != "ends" && c0.StartsFailed != 0) || c0.Lost+c0.Refused != 0 {
				t.Errorf("%+v", c0)
			}
			r.inLoop(func(l *loop) {
				if got := l.gens.current.Preload.Level; got != c.level {
					t.Errorf("the level is %q, want %q", got, c.level)
				}
			})
		})
	}
}

func TestAProgramThatKnowsNothingOfPreloadingIsAnOrdinaryWorker(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", func(s *Settings) { fixed(4)(s); s.Preload = preloadApplication })
	r.idle(4)
	r.get("/")
	r.logs("cannot preload an application: each worker is executed")
	if c := r.counters(); c.Starts != 4 || c.StartsFailed != 0 {
		t.Errorf("%+v", c)
	}
	if p := r.now().Preload; p == nil || p.Level != preloadNo || p.PID != 0 {
		t.Errorf("%+v", p)
	}
}

// Others must not wait for a program that takes its time and says nothing.
func TestStartsDoNotWaitForAProgramThatSaysNothing(t *testing.T) {
	checkFDs(t)
	r := begin(t, "deadly", func(s *Settings) { fixed(3)(s); s.Preload = preloadWorker; s.StartTimeout = time.Hour })
	r.loopUntil("two wait for the first", func(l *loop) bool {
		return l.workers.in[starting] == 3 && len(l.gens.current.preload.queue) == 2 && l.reaper.inFlight == 0
	})
	r.skip(announceWithin)
	r.until("all are started", func(control.Status, Counters) bool { return len(r.workers()) == 3 })
}

func TestAWorkerThatWasNotAskedIsNotAPreloadedProcess(t *testing.T) {
	checkFDs(t)
	r, listeners := newRig(t, 1)
	set := settings("once@" + r.dir + "@unasked")
	fixed(2)(&set)
	r.start(set, listeners...)
	r.logs("it was not asked to be a preloaded process")
	r.idle(2)
	if c := r.counters(); c.Violations != 1 || c.Killed != 1 {
		t.Errorf("%+v", c)
	}
}

func TestAStopEndsWorkersThatWaitForAnAttempt(t *testing.T) {
	checkFDs(t)
	r := begin(t, "deadly", func(s *Settings) { fixed(3)(s); s.Preload = preloadWorker })
	r.loopUntil("two wait", func(l *loop) bool { return len(l.gens.current.preload.queue) == 2 })
	r.stopped()
}
