package master

// A refusal is why a connection was answered with 503.
type refusal int

const (
	tooLate    refusal = iota // no worker was free within QueueTimeout
	notStarted                // the application does not start
	stopping                  // the master stops, and would not wait
	refusals                  // how many reasons there are
)

// refusalNames are what Metrics calls them.
var refusalNames = [refusals]string{"timeout", "failing", "stopping"}

// refuse counts a connection and answers it with 503.
func (l *loop) refuse(c *conn, why refusal) {
	l.count.Refused++
	l.count.Refusals[why]++
	if why == notStarted {
		l.backoff.Wanted = true // a reason to try another start
	}
	if why := l.backoff.LastFailure; l.host.ShowFailure && why != "" && l.failing() {
		l.answerWith(c, 503, unavailable("The application does not start: "+why))
		return
	}
	l.answer(c, 503)
}

// byReason are refusals as Metrics has them.
func byReason(count [refusals]uint64) map[string]uint64 {
	by := map[string]uint64{}
	for why, n := range count {
		by[refusalNames[why]] = n
	}
	return by
}
