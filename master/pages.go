package master

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/scgid/scgid/master/memfd"
	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

const (
	// lookWithin is how long a connection that its worker has finished may look
	// as if it was at work, while nobody waits for the worker. A turn of the loop
	// for whatever reason ends that early. It is the time after which the loop looks
	// whether a connection was received, too, and longer than a tick of the poller:
	// so a request costs no timer of its own.
	lookWithin = receiveWithin

	// lookPause is the pause before the first look for a wake-up that was lost,
	// see package link.
	lookPause = 2 * time.Millisecond
)

// A pages drawer knows which connections finish in the page of their worker and
// not by DONE. The loop looks at them in each turn. When it waits, their workers
// are asked to say DONE if somebody needs them, or if a request takes long:
// so nothing has to wake up the loop again and again.
type pages struct {
	recent list[conn] // passed not long ago, by the moment when that ends
	long   list[conn] // passed before; their workers are asked

	hurry  bool // workers of recent ones are asked, too, until the loop is awake
	lookAt Time // a wake-up that was lost is looked for; 0 is never
	pause  time.Duration
}

// How a worker is asked to say DONE.
const (
	notAsked    = iota
	askedNow    // until the loop is awake
	askedToStay // until it has finished all
)

// newPage makes a page for a worker. The caller owns the descriptor and the mapping.
func newPage() (fd int, p *link.Page, err error) {
	if fd, err = memfd.New("scgid-page", link.PageContent(), memfd.Fixed); err != nil {
		return -1, nil, err
	}
	if p, err = link.MapPage(fd); err != nil {
		unix.Close(fd)
		return -1, nil, err
	}
	return fd, p, nil
}

func (l *loop) warnNoPage(w *worker, err error) {
	l.warnRateLimited(warnPage, "a worker has no page and says by DONE what it has finished", "worker", w.ID, "err", err)
}

// dropPage is for a worker that does not use its page, or is forgotten.
func (w *worker) dropPage() {
	w.page.Close()
	if w.Page >= 0 {
		unix.Close(w.Page)
	}
	w.page, w.Page, w.Paged = nil, -1, false
}

// freeSlot returns a slot of the worker's page that no connection has, NoSlot
// for a worker that does not use its page.
func (w *worker) freeSlot() int {
	if !w.Paged {
		return link.NoSlot
	}
	var used [(link.PageSlots + 63) / 64]uint64
	for _, c := range w.conns {
		used[c.Slot/64] |= 1 << (c.Slot % 64)
	}
	slot := 0
	for i := range used {
		slot = 64*i + bits.TrailingZeros64(^used[i])
		if used[i] != ^uint64(0) {
			break
		}
	}
	return slot
}

// follow begins to look for the end of c, which was passed to a worker.
func (s *pages) follow(c *conn) {
	w := c.worker
	if !w.Paged {
		return
	}
	if w.asked == askedNow || len(w.conns) == 1 {
		w.unask()
	}
	s.recent.append(&c.look, c.PassedAt+lookWithin)
}

// ask has the worker say DONE from now on; look at its page after that.
func (w *worker) ask(how uint8) {
	if w.asked == notAsked {
		w.page.Ask()
	}
	w.asked = how
}

func (w *worker) unask() {
	if w.asked != notAsked {
		w.page.Unask()
		w.asked = notAsked
	}
}

// askBeforeWait asks workers for which somebody waits to say DONE. It returns
// whether one has finished a connection meanwhile: then there is no reason to
// wait.
func (l *loop) askBeforeWait() bool {
	s := &l.workers.pages
	all, asked := l.conns.waiting.first != nil || l.stage != serving, false
	for n := s.recent.first; n != nil; n = n.next {
		if w := n.of.worker; w.asked == notAsked && w.Paged && (all || w.State != ready) {
			w.ask(askedNow)
			asked = true
		}
	}
	if !asked {
		return false
	}
	s.hurry = true
	s.lookAt, s.pause = l.now+lookPause, lookPause
	return l.collect()
}

// unaskAwake ends that: until the loop waits again it looks by itself, and what
// is finished meanwhile need not be told.
func (s *pages) unaskAwake() {
	if !s.hurry {
		return
	}
	s.hurry = false
	for n := s.recent.first; n != nil; n = n.next {
		if w := n.of.worker; w.asked == askedNow && w.State == ready {
			w.unask()
		}
	}
}

// collect finishes all connections that their workers have finished, and returns
// whether there were any.
func (l *loop) collect() (any bool) {
	for _, of := range [...]*list[conn]{&l.workers.pages.recent, &l.workers.pages.long} {
		for n := of.first; n != nil; {
			next := n.next
			any = l.look(n.of) || any
			n = next
		}
	}
	return any
}

// collectFrom is collect for one worker.
func (l *loop) collectFrom(w *worker) {
	for i := len(w.conns) - 1; i >= 0; i-- {
		l.look(w.conns[i])
	}
}

// look finishes a connection if its worker has, and returns whether it has. A
// worker that writes nonsense into its page is killed, and the page not read again.
func (l *loop) look(c *conn) bool {
	w := c.worker
	if !w.Paged {
		return false
	}
	is, err := w.page.Read(c.Slot, c.ID)
	if err != nil {
		w.Paged = false
		l.protocolError(w, err)
		return false
	}
	if !is.Finished {
		return false
	}
	ended := is.Ended - l.host.origin
	if ended < c.PassedAt || ended > l.now {
		ended = l.now
	}
	l.finish(c, link.Message{Code: is.Code, Bytes: is.Bytes, Cut: is.Cut}, ended)
	return true
}

// begun says whether the worker of c may have begun a reply. Only a worker with a
// page can say that it has not.
func (c *conn) begun() bool {
	if !c.worker.Paged {
		return true
	}
	is, err := c.worker.page.Read(c.Slot, c.ID)
	return err != nil || is.Begun
}

// lookLate has the worker of the connection that has taken longest of the recent
// ones say DONE. Nobody needs to look any more.
func (l *loop) lookLate() {
	s := &l.workers.pages
	c := s.recent.first.of
	s.long.append(&c.look, l.now)
	if !c.worker.Paged {
		return
	}
	c.worker.ask(askedToStay)
	s.lookAt, s.pause = l.now+lookPause, lookPause
	l.look(c)
}

// lookAgain is due a moment after workers were asked. The turn has looked at all
// pages already. While somebody waits there are more looks, ever more seldom.
func (l *loop) lookAgain() {
	s := &l.workers.pages
	s.lookAt = 0
	if l.conns.waiting.first != nil && s.recent.len+s.long.len > 0 {
		s.pause = min(2*s.pause, lookWithin)
		s.lookAt = l.now + s.pause
	}
}

// remap maps the pages that have come along over execve(2).
func (l *loop) remap() error {
	for _, w := range l.workers.all {
		if w.Page < 0 {
			continue
		}
		var err error
		if w.page, err = link.MapPage(w.Page); err != nil {
			return fmt.Errorf("page of worker %d: %w", w.ID, err)
		}
		w.page.Unask()
	}
	return nil
}
