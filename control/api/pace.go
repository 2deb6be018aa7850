package api

import "time"

// Bounds on connections, and on requests that follow the first one on them, in a
// time. The places that a gate gives out bound how many connections there are,
// not how fast they come and go, nor how much is asked on them: a caller who
// connects, sends garbage and leaves, or one request after the other, as fast as
// it can, would keep the master's threads busy and requests of the pool waiting
// for them. Those who may change something
// could stop the pool as well, and are not held back.
const (
	userRate, userBurst     = 50, 200  // let in, of one user, a second and at once
	othersRate, othersBurst = 200, 400 // of all users of a level

	// Turning away is cheap, but not free, and what waits in the backlog shall
	// not keep those behind it: so many, then what is left of a moment is for
	// others.
	acceptBatch = 10
	acceptPause = 2 * time.Millisecond
)

// A pace is how many may still come.
type pace struct {
	left float64
	at   time.Time // when left was so many; zero is long ago
}

// refill is what there is now.
func (p *pace) refill(now time.Time, rate, burst float64) float64 {
	if p.at.IsZero() {
		return burst
	}
	return min(p.left+now.Sub(p.at).Seconds()*rate, burst)
}

// paces are those of the callers of one level. A gate's mutex guards them.
type paces struct {
	all   pace
	users map[uint32]*pace // those that are not at rest
}

// take says whether one more of this user may come, and counts it.
func (p *paces) take(uid uint32, now time.Time) bool {
	user := p.users[uid]
	if user == nil {
		user = &pace{}
	}
	all, own := p.all.refill(now, othersRate, othersBurst), user.refill(now, userRate, userBurst)
	if all < 1 || own < 1 {
		return false
	}
	p.all = pace{all - 1, now}
	*user = pace{own - 1, now}
	if p.users == nil {
		p.users = map[uint32]*pace{}
	}
	p.users[uid] = user
	if len(p.users) > 2*othersBurst {
		p.forget(now)
	}
	return true
}

// forget drops users that may again do all at once. What is left came within
// the time in which a user's burst fills up, and othersRate bounds that.
func (p *paces) forget(now time.Time) {
	for uid, user := range p.users {
		if user.refill(now, userRate, userBurst) >= userBurst {
			delete(p.users, uid)
		}
	}
}
