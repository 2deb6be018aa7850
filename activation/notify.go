package activation

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	statusEvery = time.Second            // at most one STATUS= in this time
	maxStatus   = 512                    // bytes of a STATUS= text
	sendWait    = time.Second            // for room in the manager's queue
	firstRetry  = 100 * time.Millisecond // after a failed send; doubles
	lastRetry   = 10 * time.Second
	closeWait   = 2 * time.Second // for Close, after which what is left is given up
)

// Notifier tells the service manager how the server is, in the words of
// sd_notify(3). Its methods may be called from any goroutine and never wait,
// except Close. What cannot be sent is kept and tried again: of each kind of
// message only the latest, so that nothing piles up. READY=1 and STOPPING=1 both
// arrive, in this order.
type Notifier struct {
	addr   string
	report func(error)
	now    func() time.Time
	after  func(time.Duration) <-chan time.Time
	wake   chan struct{} // holds one token: something changed
	done   chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	due      news      // what is to be said; guarded by mu, as all below
	stopped  bool      // Stopping was called
	said     bool      // lastText was sent
	lastText string    // the last STATUS= sent or under way
	lastAt   time.Time // when that was
	retryAt  time.Time // no send before; zero after a success
	retry    time.Duration
	closing  bool
	closeBy  time.Time
	err      error // of the last send
}

// news is what the manager does not know yet.
type news struct {
	ready    bool
	stopping bool
	watchdog bool
	extend   time.Duration // 0: none
	status   bool
	text     string   // of status
	store    *deposit // nil: none; goes before all else
}

// NewNotifier starts a Notifier for $NOTIFY_SOCKET; without that variable all
// its methods do nothing. If report is not nil it is given the error when
// sending begins to fail, once until it works again; it is called from the
// Notifier's goroutine.
func NewNotifier(report func(error)) *Notifier {
	return startNotifier(os.Getenv("NOTIFY_SOCKET"), report, time.Now, time.After)
}

func startNotifier(addr string, report func(error), now func() time.Time, after func(time.Duration) <-chan time.Time) *Notifier {
	n := &Notifier{addr: addr, report: report, now: now, after: after,
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	if addr == "" {
		n.closing = true // so that nothing is kept
		close(n.done)
		return n
	}
	go n.run()
	return n
}

// Ready says that start-up, or a reload, is finished, together with a status
// text. After Stopping it does nothing.
func (n *Notifier) Ready(status string) {
	n.change(func() {
		if !n.stopped {
			n.due.ready = true
			n.due.extend = 0 // it was for the start, which is over
			n.setStatus(status)
		}
	})
}

// Status gives the text that systemctl status shows. The latest of a second
// is sent at its end; one that is already shown is not sent again. It is made
// one line of printable text and cut at 512 bytes.
func (n *Notifier) Status(text string) {
	n.change(func() { n.setStatus(text) })
}

// Stopping says that the server is about to end.
func (n *Notifier) Stopping() {
	n.change(func() {
		n.due.stopping = n.due.stopping || !n.stopped
		n.stopped = true
	})
}

// Extend asks the manager to allow d more, from now on, for the start or stop
// that is in progress.
func (n *Notifier) Extend(d time.Duration) {
	n.change(func() { n.due.extend = max(d, time.Microsecond) })
}

// Watchdog is the sign of life for the manager's watchdog; see WatchdogInterval.
func (n *Notifier) Watchdog() {
	n.change(func() { n.due.watchdog = true })
}

// Close sends what is still to be said, the last status text included, and
// ends the Notifier. It waits a few seconds at most and then returns why
// something was given up. It does not say STOPPING=1 by itself: a server that
// executes itself again calls Close too.
func (n *Notifier) Close() error {
	n.change(func() {
		n.closing = true
		n.closeBy = n.now().Add(closeWait)
		n.retryAt, n.retry = time.Time{}, 0
	})
	<-n.done
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

func (n *Notifier) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return
	}
	f()
	select {
	case n.wake <- struct{}{}:
	default: // a token is there already
	}
}

func (n *Notifier) setStatus(text string) {
	text = cleanText(text)
	n.due.text = text
	n.due.status = !n.said || text != n.lastText
}

func (n *Notifier) run() {
	defer close(n.done)
	defer func() { n.due.store.drop() }() // given up; closing, nobody else changes it
	for {
		send, wait, end := n.next()
		switch {
		case end:
			return
		case send != news{}:
			n.sent(send, n.send(send))
		case wait > 0:
			select {
			case <-n.wake:
			case <-n.after(wait):
			}
		default:
			<-n.wake
		}
	}
}

// next returns what to send now; or how long to wait for a change, 0 meaning
// without end; or that all is over.
func (n *Notifier) next() (send news, wait time.Duration, end bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.wake: // what it told of is looked at now
	default:
	}
	now := n.now()
	if n.due == (news{text: n.due.text}) {
		return news{}, 0, n.closing
	}
	if n.closing && !now.Before(n.closeBy) {
		return news{}, 0, true
	}
	if wait := n.retryAt.Sub(now); wait > 0 {
		return news{}, wait, false
	}
	send = n.take(now)
	if send == (news{}) {
		return send, n.lastAt.Add(statusEvery).Sub(now), false
	}
	return send, 0, false
}

// take moves from due what goes into the next message. A change of state goes
// at once, with the latest text; text alone waits for the end of the second.
func (n *Notifier) take(now time.Time) news {
	if store := n.due.store; store != nil {
		n.due.store = nil
		return news{store: store}
	}
	send, rest := n.due, news{}
	if send.ready && send.stopping {
		// In one message the second would hide the first.
		send.stopping, rest.stopping = false, true
		send.extend, rest.extend = 0, send.extend
	}
	urgent := send.ready || send.stopping || n.closing
	if send.status && !urgent && n.said && now.Sub(n.lastAt) < statusEvery {
		rest.status, rest.text = true, send.text
		send.status = false
	}
	if send.status {
		n.said, n.lastText, n.lastAt = true, send.text, now
	} else {
		send.text = ""
	}
	n.due = rest
	return send
}

// sent notes what became of a message; what failed is due again, unless there
// is newer of its kind.
func (n *Notifier) sent(send news, err error) {
	n.mu.Lock()
	first := n.retry == 0
	if err == nil {
		send.store.drop()
		n.retryAt, n.retry, n.err = time.Time{}, 0, nil
	} else {
		n.restore(send)
		n.retry = min(max(2*n.retry, firstRetry), lastRetry)
		if n.closing {
			n.retry = firstRetry
		}
		n.retryAt = n.now().Add(n.retry)
		n.err = err
	}
	n.mu.Unlock()
	if err != nil && first && n.report != nil {
		n.report(err)
	}
}

func (n *Notifier) restore(send news) {
	d := &n.due
	d.ready = d.ready || send.ready
	d.stopping = d.stopping || send.stopping
	d.watchdog = d.watchdog || send.watchdog
	if d.extend == 0 {
		d.extend = send.extend
	}
	if d.store == nil {
		d.store = send.store
	} else {
		send.store.drop()
	}
	if send.status {
		n.said = false
		if !d.status {
			d.status, d.text = true, send.text
		}
	}
}

// send gives the manager one message. It dials each time: the manager may
// have made a new socket.
func (n *Notifier) send(w news) error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.addr, Net: "unixgram"})
	if err == nil {
		defer c.Close()
		err = c.SetDeadline(time.Now().Add(sendWait))
	}
	switch {
	case err != nil:
	case w.store != nil:
		err = w.store.send(c)
	default:
		_, err = c.Write([]byte(w.message()))
	}
	if err != nil {
		return fmt.Errorf("cannot notify the service manager: %w", err)
	}
	return nil
}

func (w news) message() string {
	var lines []string
	add := func(on bool, line string) {
		if on {
			lines = append(lines, line)
		}
	}
	add(w.ready, "READY=1")
	add(w.stopping, "STOPPING=1")
	add(w.extend > 0, "EXTEND_TIMEOUT_USEC="+strconv.FormatInt(w.extend.Microseconds(), 10))
	add(w.watchdog, "WATCHDOG=1")
	add(w.status, "STATUS="+w.text)
	return strings.Join(lines, "\n")
}

// cleanText makes one line of printable text of at most maxStatus bytes:
// systemd drops a text that is not UTF-8, and parts of it come from workers.
func cleanText(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsSpace(r) {
			r = ' '
		} else if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		if b.Len()+len(string(r)) > maxStatus {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
