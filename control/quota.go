package control

import "sync"

// A Quota bounds how many of something there are at one time, so that nobody,
// with however many connections, keeps others out. Its limits are set before it
// is used and stay; it may be used from any goroutine.
type Quota struct {
	All    int // of all users
	Others int // of all but uid 0, for whom the rest stays free
	User   int // of one user other than uid 0

	mu    sync.Mutex
	users map[uint32]int // guarded by mu; those that have any
}

// Acquire takes one for a user, and says whether there was one left. The caller
// gives it back with Release.
func (q *Quota) Acquire(uid uint32) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	all, others := 0, 0
	for user, n := range q.users {
		all += n
		if user != 0 {
			others += n
		}
	}
	if all >= q.All || uid != 0 && (others >= q.Others || q.users[uid] >= q.User) {
		return false
	}
	if q.users == nil {
		q.users = map[uint32]int{}
	}
	q.users[uid]++
	return true
}

// Release gives back what Acquire took for this user.
func (q *Quota) Release(uid uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.users[uid]--; q.users[uid] == 0 {
		delete(q.users, uid)
	}
}
