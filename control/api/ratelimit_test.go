package api

import (
	"testing"
	"time"
)

func TestCallersWhoMayNotChangeAreLetInAtABoundedPace(t *testing.T) {
	var p rateLimit
	now := time.Unix(1e9, 0)
	take := func(uid uint32, tries int) (n int) {
		for range tries {
			if p.take(uid, now) {
				n++
			}
		}
		return n
	}
	if n := take(1, 1000); n != userBurst {
		t.Errorf("%d at once, want %d", n, userBurst)
	}
	if n := take(2, 10); n != 10 {
		t.Errorf("another user: %d of 10", n)
	}
	now = now.Add(time.Second)
	if n := take(1, 1000); n != userRate {
		t.Errorf("%d a second later, want %d", n, userRate)
	}
	// However many users there are, all of them have no more than this.
	now = now.Add(time.Hour)
	sum := 0
	for uid := range uint32(1000) {
		sum += take(uid, 1)
	}
	if sum != othersBurst {
		t.Errorf("%d of 1000 users, want %d", sum, othersBurst)
	}
	now = now.Add(time.Second)
	sum = 0
	for uid := range uint32(1000) {
		sum += take(1000+uid, 1)
	}
	if sum != othersRate {
		t.Errorf("%d a second later, want %d", sum, othersRate)
	}
	for uid := range uint32(1 << 20) {
		if uid%100 == 0 {
			now = now.Add(time.Second)
		}
		p.take(uid, now)
		if len(p.users) > 2*othersBurst+1 {
			t.Fatalf("%d users are remembered", len(p.users))
		}
	}
}
