package control

import "testing"

func TestAQuotaKeepsRoomForRootAndForOtherUsers(t *testing.T) {
	q := Quota{All: 8, Others: 6, User: 4}
	take := func(uid uint32, want int) {
		t.Helper()
		n := 0
		for q.Acquire(uid) {
			n++
		}
		if n != want {
			t.Errorf("uid %d got %d, want %d", uid, n, want)
		}
	}
	take(1000, 4)
	take(1001, 2)
	take(1002, 0)
	q.Release(1000)
	take(1002, 1)
	take(0, 2)
	for _, uid := range []uint32{1000, 1000, 1000, 1001, 1001, 1002, 0, 0} {
		q.Release(uid)
	}
	take(0, 8)
	if len(q.users) != 1 {
		t.Errorf("users %v are kept", q.users)
	}
}
