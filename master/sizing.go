package master

import (
	"time"

	"github.com/scgid/scgid/master/pool"
)

// decide asks the policy, package pool, what to do and does it.
func (l *loop) decide() {
	if l.op.handover != nil && l.settled() == nil {
		l.alarms[decideDue] = 0 // the next program decides
		return
	}
	for {
		s := pool.Decide(l.view(), l.policyLimits(), l.now)
		l.backoff.Ramp, l.alarms[decideDue] = s.Ramp, s.Wake
		for range min(s.Start, startsAtOnce-l.reaper.inFlight) {
			l.start()
		}
		switch {
		case s.Exit:
			l.leaveIdle()
			return
		case s.Retire:
			l.retireOne()
		default:
			return
		}
	}
}

// retireOne retires the worker that is missed least, an outdated one first.
func (l *loop) retireOne() {
	var w *worker
	if l.gens.roll != nil {
		w = l.leastMissed(l.outdated)
	}
	if w == nil {
		w = l.leastMissed(func(*worker) bool { return true })
	}
	if w != nil {
		l.retire(w)
	}
}

// leastMissed returns among the workers that serve and may go the one that is
// missed least, nil without one: an idle one, the least recently used, or else
// the youngest of the busy ones. A former canary comes last.
func (l *loop) leastMissed(mayGo func(*worker) bool) *worker {
	if w := l.leastMissedIdle(mayGo); w != nil {
		return w
	}
	var best *worker
	for _, w := range l.workers.all {
		if w == nil || w.State != ready || w == l.gens.canary || !mayGo(w) {
			continue
		}
		switch {
		case best == nil, best.piped && !w.piped:
			best = w
		case best.piped == w.piped && w.ID > best.ID:
			best = w
		}
	}
	return best
}

func (l *loop) leastMissedIdle(mayGo func(*worker) bool) *worker {
	var best *worker
	for n := l.workers.idle.last; n != nil; n = n.prev {
		if w := n.of; mayGo(w) && (best == nil || best.piped && !w.piped) {
			best = w
		}
	}
	return best
}

// view is what the policy is shown.
func (l *loop) view() pool.View {
	v := pool.View{
		Starting: l.coming(),
		Idle:     l.workers.idle.len,
		Busy:     l.busy(),
		Leaving:  l.workers.in[leaving] + l.workers.in[retiring] + l.workers.in[killed],

		Waiting:    l.conns.waiting.len,
		Parked:     l.conns.parked.len + l.conns.ending.len,
		QuietSince: l.intake.QuietSince,

		Failures: l.backoff.Failures,
		RetryAt:  l.backoff.RetryAt,
		Ramp:     l.backoff.Ramp,
	}
	if l.held() > 0 {
		v.Waiting = 0 // for a worker that is hot: more of them are not wanted
	}
	if l.backoff.Wanted && l.stage == serving {
		v.Waiting++ // somebody would, were there a worker
	}
	if l.workers.idle.last != nil {
		v.OldestIdle = l.workers.idle.last.at
	}
	if l.gens.roll != nil {
		v.Outdated, v.Floor = l.outdatedReady(), l.gens.roll.floor
		v.Lately, v.LatelyUntil = l.workers.leavingLately(l.now)
	}
	return v
}

// busy is the number of workers that serve and hold a connection.
func (l *loop) busy() int { return l.serving() - l.workers.idle.len }

// serving is the number of workers that are ready, without a canary.
func (l *loop) serving() int { return l.workers.in[ready] - l.canaryIs(ready) }

// coming is the number of workers on their way, without a canary.
func (l *loop) coming() int { return l.workers.in[starting] - l.canaryIs(starting) }

// canaryIs is 1 if there is a canary in this state.
func (l *loop) canaryIs(s workerState) int {
	if c := l.gens.canary; c != nil && c.State == s {
		return 1
	}
	return 0
}

// policyLimits are the operator's; a pool that stops keeps nobody without work.
func (l *loop) policyLimits() pool.Limits {
	now, set := &l.limits.Now, l.set()
	if l.stage != serving {
		return pool.Limits{Max: now.MaxWorkers, MaxIdle: now.MaxWorkers}
	}
	return pool.Limits{
		Min: now.MinWorkers, Max: now.MaxWorkers,
		MinIdle: now.MinIdle, MaxIdle: now.MaxIdle,
		IdleTimeout: set.IdleTimeout, IdleExit: l.idleExit(),
		Surge: max(set.Surge, 1), Unavailable: set.Unavailable,
	}
}

// idleExit is off during an operation or a pause, and while somebody watches.
func (l *loop) idleExit() time.Duration {
	if l.intake.Paused || l.op.cancel != nil || l.gens.roll != nil || l.events.watched() {
		return 0
	}
	return l.set().IdleExit
}
