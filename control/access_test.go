package control

import (
	"strings"
	"testing"
)

func TestLevelIsDecidedByUserAndGroup(t *testing.T) {
	const own, other, group, readers = 900, 1000, 50, 60
	system := Access{OwnUID: own, Group: group, ReadGroup: readers}
	user := Access{OwnUID: own, OwnFull: true, Group: -1, ReadGroup: -1}
	asRoot := Access{OwnUID: 0, Group: -1, ReadGroup: -1}
	for _, tt := range []struct {
		name   string
		access Access
		uid    uint32
		gids   []uint32
		want   Level
	}{
		{"root", system, 0, nil, LevelChange},
		{"root in a pool of its own", asRoot, 0, nil, LevelChange},
		{"own user of a system pool", system, own, []uint32{own}, LevelRead},
		{"own user who is in Group", system, own, []uint32{own, group}, LevelRead},
		{"own user of a user's pool", user, own, []uint32{own}, LevelChange},
		{"member of Group", system, other, []uint32{other, group}, LevelChange},
		{"Group as primary group", system, other, []uint32{group}, LevelChange},
		{"member of ReadGroup", system, other, []uint32{other, readers}, LevelRead},
		{"member of both", system, other, []uint32{readers, group}, LevelChange},
		{"another user", system, other, []uint32{other}, LevelName},
		{"another user without groups", system, other, nil, LevelName},
		{"another user of a user's pool", user, other, []uint32{0, group, readers}, LevelName},
		{"group -1 is nobody's", user, other, []uint32{0xffffffff}, LevelName},
		{"group 0 is no root", system, other, []uint32{0}, LevelName},
	} {
		if got := tt.access.Level(Caller{UID: tt.uid, GIDs: tt.gids}); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestDeniedSaysWhatTheCallerMay(t *testing.T) {
	for level, want := range map[Level]string{
		LevelName: "cannot stop the pool: permission denied (uid 1000 may see name and state only)",
		LevelRead: "cannot stop the pool: permission denied (uid 1000 may read only)",
	} {
		e := Denied(FindVerb("stop"), Caller{UID: 1000}, level)
		if e.Error() != want || e.Code != CodeDenied || !strings.Contains(e.Hint, "Control.Group=") {
			t.Errorf("%+v, want %s", e, want)
		}
	}
}
