// Package worker is what a worker written in Go imports: it takes connections
// from the master, one by one, and says when each is finished. Serve runs an
// http.Handler on them, Listen gives a net.Listener of them, and Open is the
// level below both.
//
// A worker never loses a connection that it was given: at SIGTERM and at the
// master's end of file it finishes what it holds and what was already sent to
// it, then Accept returns io.EOF and the program should exit 0. SIGINT is
// ignored, because Ctrl-C in a terminal is for the master to judge.
//
// Its owner is a process started by the master, and there is one Worker in a
// process. The package listens on no address, starts no process and knows
// nothing of the pool; without a master Open returns link.ErrNoMaster.
package worker

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/scgid/scgid/worker/link"
)

// A Worker is this process as the master sees it. Its methods may be used by
// several goroutines at a time.
type Worker struct {
	end *link.End

	term   chan os.Signal
	dump   chan os.Signal
	ignore chan os.Signal // nobody reads it
	closed chan struct{}
	once   sync.Once
}

// Open takes the link that the master put into the environment, and the page
// beside it. From here on SIGTERM means Leave and SIGINT is ignored. The master
// sends nothing before Ready. The error is link.ErrNoMaster when there is no master.
func Open() (*Worker, error) {
	end, err := link.Inherit()
	if err != nil {
		return nil, err
	}
	if err := end.UsePage(); err != nil {
		end.Close()
		return nil, err
	}
	return newWorker(end), nil
}

// newWorker takes end.
func newWorker(end *link.End) *Worker {
	w := &Worker{
		end: end,
		// A channel each, and room for one: os/signal drops what finds no
		// room, and then one of its kind is waiting already.
		term:   make(chan os.Signal, 1),
		dump:   make(chan os.Signal, 1),
		ignore: make(chan os.Signal, 1),
		closed: make(chan struct{}),
	}
	// Not signal.Ignore, which child processes would inherit.
	signal.Notify(w.ignore, os.Interrupt)
	signal.Notify(w.term, syscall.SIGTERM)
	go w.leaveOnSignal()
	return w
}

// leaveOnSignal shuts the reading side of the link. It is all that SIGTERM
// does: a flag beside it would be looked at too early or too late.
func (w *Worker) leaveOnSignal() {
	for {
		select {
		case <-w.term:
			w.Leave()
		case <-w.closed:
			return
		}
	}
}

// Ready tells the master that the worker takes up to slots connections at a
// time (1 to link.MaxSlots), and that at SIGUSR2 it writes the stacks of all
// goroutines to stderr.
func (w *Worker) Ready(slots int) error {
	if slots < 1 || slots > link.MaxSlots {
		return fmt.Errorf("%d slots are not within 1 to %d", slots, link.MaxSlots)
	}
	signal.Notify(w.dump, syscall.SIGUSR2)
	go w.dumpOnSignal()
	return w.end.Ready(slots, "USR2")
}

// Accept waits for the next connection. Of several callers one waits for the
// master, with a thread to itself, and the others for their turn. io.EOF means:
// finish what you hold, then exit 0. After any other error finish what you hold
// and exit non-zero; the master then gives a connection that came and was not
// read to another worker. The caller ends the Conn with Done or Close.
func (w *Worker) Accept() (*Conn, error) {
	p, err := w.end.Receive()
	if err != nil {
		return nil, err
	}
	return newConn(p, w.end), nil
}

// Leave stops the flow of connections, as SIGTERM does: Accept returns those
// already sent, then io.EOF. It may be called more than once.
func (w *Worker) Leave() error { return w.end.Leave() }

// Status gives the master a line to show for this worker.
func (w *Worker) Status(text string) error { return w.end.Status(text) }

// Fail tells the master that the worker cannot start, and why. Exit non-zero
// afterwards. It returns err, so that `return w.Fail(err)` ends a start-up;
// when the master could not be told, err is all there is to say.
func (w *Worker) Fail(err error) error {
	w.end.Fail(err.Error())
	return err
}

// Close closes the link. Connections that are not finished by then cannot be
// reported: their master sees this worker die with them. The signals stay
// caught and do nothing any more, because a second SIGTERM, or a SIGUSR2,
// would otherwise kill a worker on its way to exit 0.
func (w *Worker) Close() error {
	err := os.ErrClosed
	w.once.Do(func() {
		close(w.closed)
		err = w.end.Close()
	})
	return err
}

var _ io.Closer = (*Worker)(nil)
