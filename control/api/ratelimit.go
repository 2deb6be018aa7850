package api

import "time"

// Bounds on connections, and on requests that follow the first one on them, in a
// time. An admission bounds how many connections there are, not how fast they
// come and go, nor how much is asked on them: a caller that connects, sends
// garbage and leaves, or one request after the other, as fast as it can, would
// keep the master's threads busy and requests of the pool waiting for them. A
// caller that may change something could stop the pool as well, and is not held
// back.
const (
	userRate, userBurst     = 50, 200  // let in, of one user, a second and at once
	othersRate, othersBurst = 200, 400 // of all users of a level

	// Rejecting is cheap, but not free, and what waits in the backlog must not
	// take all of the time: after so many connections there is a pause.
	acceptBatch = 10
	acceptPause = 2 * time.Millisecond
)

// A bucket is how many may still come.
type bucket struct {
	left float64
	at   time.Time // when left was so many; zero is long ago
}

// refill is what there is now.
func (p *bucket) refill(now time.Time, rate, burst float64) float64 {
	if p.at.IsZero() {
		return burst
	}
	return min(p.left+now.Sub(p.at).Seconds()*rate, burst)
}

// A rateLimit is that of the callers of one level. The admission's mutex guards
// it.
type rateLimit struct {
	all   bucket
	users map[uint32]*bucket // those that are not at rest
}

// take says whether one more of this user may come, and counts it.
func (p *rateLimit) take(uid uint32, now time.Time) bool {
	user := p.users[uid]
	if user == nil {
		user = &bucket{}
	}
	all, own := p.all.refill(now, othersRate, othersBurst), user.refill(now, userRate, userBurst)
	if all < 1 || own < 1 {
		return false
	}
	p.all = bucket{all - 1, now}
	*user = bucket{own - 1, now}
	if p.users == nil {
		p.users = map[uint32]*bucket{}
	}
	p.users[uid] = user
	if len(p.users) > 2*othersBurst {
		p.forget(now)
	}
	return true
}

// forget drops users that may again do all at once. What is left came within
// the time in which a user's burst fills up, and othersRate bounds that.
func (p *rateLimit) forget(now time.Time) {
	for uid, user := range p.users {
		if user.refill(now, userRate, userBurst) >= userBurst {
			delete(p.users, uid)
		}
	}
}
