package master

import (
	"strconv"

	"github.com/scgid/scgid/master/process"
)

// group gives the command of a new worker a control group.
func (l *loop) group(c *process.Command, id uint64) {
	if l.grouping {
		c.Groups, c.GroupName = l.groups, "worker-"+strconv.FormatUint(id, 10)
	}
}

// regroup opens the control groups of workers that have come along over
// execve(2).
func (l *loop) regroup() {
	l.grouping = l.grouping && l.groups.Usable()
	for _, w := range l.workers {
		if w.group == "" {
			continue
		}
		var err error
		if w.proc.Group, err = l.groups.Reopen(w.group); err != nil {
			l.log.warn("a worker's control group cannot be watched any more", "worker", w.id, "err", err)
		}
	}
}

// checkGroup looks whether a worker that has just become ready has entered its
// control group, which happens outside our sight. That we have entered one
// ourselves at the start proves that it can be done: so this is said once, and
// nobody tries again.
func (l *loop) checkGroup(w *worker) {
	if l.grouping && w.proc.Group != nil && w.proc.Group.Empty() && !w.proc.Ended() {
		l.grouping = false
		l.log.warn("a worker has not entered its control group; from now on workers share the master's and have no limits of their own",
			"worker", w.id, "pid", w.proc.PID)
	}
}
