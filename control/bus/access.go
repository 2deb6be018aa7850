package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

// The polkit actions; see units/org.scgid1.policy. Each verb has one, so that
// those who may reload need not be those who may do everything else.
const (
	actionManage = "org.scgid1.manage"
	actionReload = "org.scgid1.reload"
)

// actionOf returns the action of a verb. An upgrade is not a reload: it executes
// another program.
func actionOf(v *control.Verb) string {
	switch v.Name {
	case control.OpReload, control.OpRollback:
		return actionReload
	}
	return actionManage
}

// polkitLimit is for a person to type a password.
const polkitLimit = 2 * time.Minute

// Bounds of questions to polkit at a time. A person may take long to answer,
// and no user's questions may keep others from asking.
const (
	queriesMax     = 16
	queriesUserMax = 4
)

// mayChange returns the caller if it may do what v does. Whatever is unclear
// is a refusal.
func (s *session) mayChange(c *call, v *control.Verb) (control.Caller, error) {
	who, err := s.caller(c.sender)
	if err != nil {
		return who, control.Errorf(control.CodeDenied, "cannot %s: cannot read the credentials of the caller: %v", v.Doing, err)
	}
	access := s.f.o.Access
	level := access.Level(who)
	denied := control.Denied(v, who, level)
	own := who.UID == access.OwnUID
	switch {
	case s.f.o.Session && !own:
		return who, denied
	case level >= v.Level:
		return who, nil
	case s.f.o.Session || own:
		// Polkit is not asked: an application that runs as the pool's user
		// must not steer its own server, not even by a rule.
		return who, denied
	}
	if !s.polkit(c, v, who) {
		return who, denied
	}
	return who, nil
}

// caller returns the process behind a sender. The bus answers with what the
// kernel said when the sender connected.
func (s *session) caller(sender string) (control.Caller, error) {
	ctx, cancel := context.WithTimeout(s.calls, queryLimit)
	defer cancel()
	var got map[string]dbus.Variant
	if err := s.bus(ctx, "GetConnectionCredentials", sender).Store(&got); err != nil {
		return control.Caller{}, err
	}
	uid, ok := got["UnixUserID"].Value().(uint32)
	if !ok {
		return control.Caller{}, errors.New("the bus knows no user of the caller")
	}
	gids, _ := got["UnixGroupIDs"].Value().([]uint32)
	pid, _ := got["ProcessID"].Value().(uint32)
	return control.Caller{UID: uid, GIDs: gids, PID: int(pid)}, nil
}

// polkit asks polkit. The call gives up its place meanwhile: people who think
// must not keep others from being served.
func (s *session) polkit(c *call, v *control.Verb, who control.Caller) bool {
	if !s.queries.Acquire(who.UID) {
		return false
	}
	defer s.queries.Release(who.UID)
	s.release(c)
	yes := s.checkAuthorization(c, v)
	return s.acquire(c) == nil && yes
}

// checkAuthorization calls CheckAuthorization; see polkit's D-Bus interface. Rules may look at
// the pool and the verb.
func (s *session) checkAuthorization(c *call, v *control.Verb) bool {
	limit, flags, cancelID := queryLimit, uint32(0), ""
	if c.interactive {
		limit, flags, cancelID = s.f.authTimeout, 1, fmt.Sprintf("%s/%d", c.sender, c.serial)
	}
	ctx, cancel := context.WithTimeout(s.calls, limit)
	defer cancel()
	subject := struct {
		Kind    string
		Details map[string]dbus.Variant
	}{"system-bus-name", map[string]dbus.Variant{"name": dbus.MakeVariant(c.sender)}}
	details := map[string]string{"pool": clean(s.f.o.Name), "verb": v.Name}
	authority := s.conn.Object("org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority")
	const iface = "org.freedesktop.PolicyKit1.Authority."
	var answer struct {
		Yes, Challenge bool
		Details        map[string]string
	}
	err := authority.CallWithContext(ctx, iface+"CheckAuthorization", 0, subject, actionOf(v), details, flags, cancelID).Store(&answer)
	if err != nil && ctx.Err() != nil && cancelID != "" {
		// Takes the question off the user's screen; nobody waits for the reply.
		authority.Call(iface+"CancelCheckAuthorization", dbus.FlagNoReplyExpected, cancelID)
	}
	return err == nil && answer.Yes
}
