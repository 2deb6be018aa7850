package api

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/scgid/scgid/control"
)

// Users and groups of the access table; nobody else need know them.
const (
	ownUID   = 64100
	otherUID = 64200
	groupID  = 64300
	readID   = 64400
)

var callers = []struct {
	name string
	full bool // the pool is its user's own
	uid  uint32
	gids []uint32
	want control.Level
}{
	{"root", false, 0, []uint32{0}, control.LevelChange},
	{"own user of a system pool", false, ownUID, []uint32{ownUID}, control.LevelRead},
	{"own user of a system pool in Group", false, ownUID, []uint32{ownUID, groupID}, control.LevelRead},
	{"own user of its own pool", true, ownUID, []uint32{ownUID}, control.LevelChange},
	{"Group", false, otherUID, []uint32{otherUID, groupID}, control.LevelChange},
	{"Group as primary", false, otherUID, []uint32{groupID}, control.LevelChange},
	{"Group among many", false, otherUID, append(manyGroups(), groupID), control.LevelChange},
	{"ReadGroup", false, otherUID, []uint32{otherUID, readID}, control.LevelRead},
	{"another user, such as a sibling pool's", false, otherUID, []uint32{otherUID}, control.LevelName},
	{"another user of a user's pool", true, otherUID, []uint32{otherUID, 0}, control.LevelName},
}

// manyGroups are more than the first try of SO_PEERGROUPS has room for.
func manyGroups() []uint32 {
	var all []uint32
	for g := uint32(70000); g < 70300; g++ {
		all = append(all, g)
	}
	return all
}

// TestAccessOfEachCallerToEachVerb is the table of DESIGN.md section 7, by real
// processes of these users.
func TestAccessOfEachCallerToEachVerb(t *testing.T) {
	for _, tt := range callers {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			access := control.Access{OwnUID: ownUID, OwnFull: tt.full, Group: groupID, ReadGroup: readID}
			s := serve(t, access, nil)
			out, err := as(t, tt.uid, tt.gids, "verbs", s.socket).Output()
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]answer
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			checkAccess(t, s, got, tt.want, tt.uid)
		})
	}
}

// TestAccessOfEachLevel is the same without other users: who asks is made up.
func TestAccessOfEachLevel(t *testing.T) {
	for _, tt := range callers {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			access := control.Access{OwnUID: ownUID, OwnFull: tt.full, Group: groupID, ReadGroup: readID}
			s := serve(t, access, func(*net.UnixConn) (control.Caller, error) {
				return control.Caller{UID: tt.uid, GIDs: tt.gids, PID: 1}, nil
			})
			for _, v := range control.Verbs() {
				err := s.client.Call(soon(t), v.Name, arguments[v.Name], nil)
				denied := err != nil && control.AsError(err).Code == control.CodeDenied
				may := tt.want >= v.Level || v.Name == "status"
				if may == denied {
					t.Errorf("%s: %v", v.Name, err)
				}
				if v.Name == "stop" && !denied {
					return // there is no more to ask
				}
			}
		})
	}
}

func checkAccess(t *testing.T, s *site, got map[string]answer, has control.Level, uid uint32) {
	t.Helper()
	want := func(name string, needs control.Level) {
		code := ""
		if has < needs {
			code = control.CodeDenied
		}
		if a, ok := got[name]; !ok || a.Code != code {
			t.Errorf("%s: %q, want %q", name, a.Code, code)
		}
	}
	for _, v := range control.Verbs() {
		if v.Name != "status" {
			want(v.Name, v.Level)
		}
	}
	for _, name := range []string{"GET log-level", "metrics", "events"} {
		want(name, control.LevelRead)
	}
	want("verbs", control.LevelName)

	status := got["status"].Status
	if status == nil || status.Name != "wiki" || status.State != control.Running {
		t.Fatalf("status: %+v", status)
	}
	if all := status.PID != 0 && status.Version != "" && status.Limits.MaxWorkers != 0; all != (has >= control.LevelRead) {
		t.Errorf("status tells %+v", *status)
	}
	checkDone(t, s, has, uid)
}

// checkDone looks at the pool: a denied call has done nothing, and one that
// was allowed is in the log with its caller.
func checkDone(t *testing.T, s *site, has control.Level, uid uint32) {
	t.Helper()
	s.pool.Lock()
	defer s.pool.Unlock()
	changed := []bool{s.pool.St.State == control.Draining, s.pool.St.Limits.MaxWorkers == 6, s.pool.St.Exits["killed"] == 1,
		s.pool.St.Exits["retired"] == 1, slices.Contains(s.pool.Changes, "dump"), s.pool.Level == "debug", slices.Contains(s.pool.Changes, control.OpUpgrade)}
	if slices.Contains(changed, has < control.LevelChange) {
		t.Errorf("changes made: %v", changed)
	}
	log := s.lines()
	line := fmt.Sprintf("control: uid %d (pid ", uid)
	if has == control.LevelChange {
		if !strings.Contains(log, line) || !strings.Contains(log, ") asks to change the limits: max_workers=6") {
			t.Errorf("log: %s", log)
		}
	} else if log != "" {
		t.Errorf("log: %s", log)
	}
}
