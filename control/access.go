package control

import (
	"fmt"
	"slices"
)

// A Level is what a caller may do. Each includes those below.
type Level int

// Levels of access.
const (
	LevelName   Level = iota // may know the pool's name and state
	LevelRead                // may see everything
	LevelChange              // may do everything
)

func (l Level) String() string {
	switch l {
	case LevelName:
		return "name and state only"
	case LevelRead:
		return "read"
	case LevelChange:
		return "change"
	}
	return fmt.Sprintf("Level(%d)", int(l))
}

// A Caller is the process that asks, as the kernel says at the moment of accept
// (SO_PEERCRED, SO_PEERGROUPS; see unix(7)), or the bus.
type Caller struct {
	UID  uint32
	GIDs []uint32 // primary and supplementary
	PID  int      // for the log only: numbers are reused
}

// Access says, by user and group, which caller may do what. Descent from the master
// would be no ground: systemd-run, cron and a reused PID all get round it.
type Access struct {
	// OwnUID is the user that the pool runs as. Its applications run as it
	// too, so in a system instance it may only read: an exploited
	// application must not steer its own server. OwnFull is for a user's own
	// instance and an ad hoc run.
	OwnUID  uint32
	OwnFull bool

	Group     int // members may change; -1 is nobody
	ReadGroup int // members may read; -1 is nobody
}

// Level says what a caller may do.
func (a Access) Level(c Caller) Level {
	in := func(group int) bool { return group >= 0 && slices.Contains(c.GIDs, uint32(group)) }
	own := c.UID == a.OwnUID
	switch {
	case c.UID == 0:
		return LevelChange
	case own && a.OwnFull:
		return LevelChange
	case own:
		// Whatever groups it is in: a member of Group would be a hole.
		return LevelRead
	case in(a.Group):
		return LevelChange
	case in(a.ReadGroup):
		return LevelRead
	}
	return LevelName
}

// Denied is the error for a caller that may not use a verb.
func Denied(v *Verb, c Caller, has Level) *Error {
	group := "Control.Group="
	if v.Level == LevelRead {
		group = "Control.Group= or Control.ReadGroup="
	}
	return Errorf(CodeDenied, "cannot %s: permission denied (uid %d may %s)", v.Doing, c.UID, mayOnly(has)).
		WithHint("run as root, or as a member of the group that %s names", group)
}

func mayOnly(l Level) string {
	if l == LevelName {
		return "see name and state only"
	}
	return l.String() + " only"
}
