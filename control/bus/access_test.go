package bus

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/scgid/scgid/control"
)

// Users and groups of the tests. dbus-daemon lets nobody in who is not in the
// user database, so these are some that every Debian has; groups it takes from
// the socket.
const (
	ownUser    = 1 // daemon, for the pool
	ownGroup   = 1
	otherUser  = 65534 // nobody
	opsUser    = 2     // bin
	opsGroup   = 4100
	readGroup  = 4101
	busGroup   = 60 // games, in the place of group scgid
	denied     = "org.scgid1.Error.NotPermitted"
	busDenied  = "org.freedesktop.DBus.Error.AccessDenied"
	polkitRule = `polkit.addRule(function(action, subject) {
	if (action.id == "org.scgid1.manage" && action.lookup("pool") == "my-app" && action.lookup("verb") == "pause")
		return polkit.Result.YES;
	if (action.id == "org.scgid1.reload" && action.lookup("pool") == "my-app" && subject.user == "nobody")
		return polkit.Result.YES;
});`
)

// shipped returns a file of package units with a word replaced.
func shipped(t *testing.T, name, old, by string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../units", name))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %s", name, old)
	}
	return strings.ReplaceAll(string(text), old, by)
}

// systemBus starts a bus with the rules of a system bus and the policy that we
// ship.
func systemBus(t *testing.T, more string) *testBus {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	policy := filepath.Join(dir, "org.scgid1.conf")
	if err := os.WriteFile(policy, []byte(shipped(t, "org.scgid1.conf", `group="scgid"`, `group="games"`)), 0o644); err != nil {
		t.Fatal(err)
	}
	return startBus(t, "system", systemConfig+more+"<include>"+policy+"</include>")
}

// asPool makes a Front that of a system instance with a user of its own.
func asPool(f *Front) {
	f.uid, f.dial = ownUser, dialAs(ownUser, ownGroup, busGroup)
	f.o.Access = control.Access{OwnUID: ownUser, Group: opsGroup, ReadGroup: readGroup}
}

// polkitOwn lets root own polkit's name, and all call it.
const polkitOwn = `<policy user="root"><allow own="org.freedesktop.PolicyKit1"/></policy>
 <policy context="default"><allow send_destination="org.freedesktop.PolicyKit1"/></policy>`

// A question is what polkit is asked.
type question struct {
	subject struct {
		Kind    string
		Details map[string]dbus.Variant
	}
	action, cancel string
	details        map[string]string
	flags          uint32
}

// A fakePolkit answers by a function. It is for what the real one does not do
// when told: be slow, be broken.
type fakePolkit struct {
	answer   func(question) (bool, *dbus.Error)
	canceled chan string
}

func (p *fakePolkit) CheckAuthorization(subject struct {
	Kind    string
	Details map[string]dbus.Variant
}, action string, details map[string]string, flags uint32, cancel string) (struct {
	Yes, Challenge bool
	Details        map[string]string
}, *dbus.Error) {
	yes, err := p.answer(question{subject, action, cancel, details, flags})
	return struct {
		Yes, Challenge bool
		Details        map[string]string
	}{yes, !yes, map[string]string{}}, err
}

func (p *fakePolkit) CancelCheckAuthorization(id string) *dbus.Error {
	p.canceled <- id
	return nil
}

func (b *testBus) polkit(t *testing.T, answer func(question) (bool, *dbus.Error)) *fakePolkit {
	t.Helper()
	p := &fakePolkit{answer, make(chan string, 10)}
	c := b.client(t, 0)
	if err := c.Export(p, "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.PolicyKit1.Authority"); err != nil {
		t.Fatal(err)
	}
	if r, err := c.RequestName("org.freedesktop.PolicyKit1", dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(r, err)
	}
	return p
}

// everyVerb tries all changes and returns the set of their outcomes.
func everyVerb(c *dbus.Conn) string {
	outcomes := map[string]bool{}
	keep := int32(-1)
	for name, args := range map[string][]any{
		"Scale": {keep, int32(8), keep, keep}, "ResetLimits": nil, "Pause": {uint64(0)}, "Resume": nil, "Stop": {false, uint64(0)},
		"Reload": nil, "Rollback": nil, "Upgrade": nil, "RetireWorker": {uint64(1)}, "DumpWorker": {uint64(1)}, "KillWorker": {uint64(99)},
	} {
		name := errorName(pool(c).Call(poolIface+"."+name, 0, args...).Err)
		if name == "org.scgid1.Error.NoSuchWorker" {
			name = "" // as far as access goes
		}
		outcomes[name] = true
	}
	outcomes[errorName(c.Object(testName, logPath).SetProperty(logIface+".LogLevel", dbus.MakeVariant("debug")))] = true
	var all []string
	for o := range outcomes {
		all = append(all, o)
	}
	return strings.Join(all, "+")
}

func TestWhoMayChangeWhatOnASystemBus(t *testing.T) {
	b := systemBus(t, polkitOwn)
	p := newFakePool()
	r := b.run(t, p, asPool)
	for _, tt := range []struct {
		who    string
		uid    int
		groups []int
		want   string
	}{
		{"root", 0, nil, ""},
		{"a member of Control.Group", opsUser, []int{opsGroup}, ""},
		{"a member of Control.ReadGroup", otherUser, []int{readGroup}, denied},
		{"another user", otherUser, nil, denied},
		{"another pool's user, in the bus group", otherUser, []int{busGroup}, denied},
		{"the pool's own user", ownUser, []int{busGroup}, denied},
		{"the pool's own user, though in Control.Group", ownUser, []int{opsGroup}, denied},
	} {
		c := b.client(t, tt.uid, tt.groups...)
		before := len(p.Made())
		if got := everyVerb(c); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.who, got, tt.want)
		}
		if done := len(p.Made()) - before; done > 0 && tt.want != "" {
			t.Errorf("%s: %d orders reached the pool", tt.who, done)
		}
		if v, err := pool(c).GetProperty(poolIface + ".State"); err != nil || v.Value() == "" {
			t.Errorf("%s cannot read: %v", tt.who, err)
		}
	}
	// Polkit says yes to all: only strangers get further by it.
	b.polkit(t, func(question) (bool, *dbus.Error) { return true, nil })
	if got := everyVerb(b.client(t, otherUser)); got != "" {
		t.Errorf("another user, with polkit: %q", got)
	}
	if got := everyVerb(b.client(t, ownUser, busGroup)); got != denied {
		t.Errorf("the pool's own user, with polkit: %q", got)
	}
	if len(r.errs) > 0 {
		t.Errorf("reported %v", <-r.errs)
	}
}

func TestOnASessionBusOnlyItsUserMayChange(t *testing.T) {
	needRoot(t)
	b := startBus(t, "session", openConfig) // with a policy that lets others in
	b.run(t, newFakePool(), asPool, func(f *Front) {
		f.o.Session, f.o.Access.OwnFull = true, true
	})
	b.polkit(t, func(question) (bool, *dbus.Error) { return true, nil })
	for uid, want := range map[int]string{ownUser: "", otherUser: denied, 0: denied} {
		if got := everyVerb(b.client(t, uid)); got != want {
			t.Errorf("uid %d: %q, want %q", uid, got, want)
		}
	}
}

func TestTheShippedBusPolicyIsEnforced(t *testing.T) {
	b := systemBus(t, "")
	b.run(t, newFakePool(), asPool)
	for _, tt := range []struct {
		who    string
		uid    int
		groups []int
		name   string
		want   string
	}{
		{"a stranger", otherUser, nil, Base, busDenied},
		{"a stranger", otherUser, nil, Base + ".app.x", busDenied},
		{"a member of the group", otherUser, []int{busGroup}, Base + ".app.x", ""},
		{"a member of the group", otherUser, []int{busGroup}, Base + "x", busDenied},
		{"root", 0, nil, Base + ".app.y", ""},
	} {
		_, err := b.client(t, tt.uid, tt.groups...).RequestName(tt.name, 0)
		if errorName(err) != tt.want {
			t.Errorf("%s owns %s: %v, want %q", tt.who, tt.name, err, tt.want)
		}
	}
	for uid, objectsSeen := range map[int]int{0: 2, otherUser: 1} {
		c := b.client(t, uid)
		if err := pool(c).SetProperty(poolIface+".MaxWorkers", dbus.MakeVariant(int32(9))); errorName(err) != busDenied {
			t.Errorf("uid %d sets a property: %v", uid, err)
		}
		var all objects
		if err := c.Object(testName, rootPath).Call(managerIface+".GetManagedObjects", 0).Store(&all); err != nil || len(all) != objectsSeen {
			t.Errorf("uid %d: %v, %v", uid, all, err)
		}
	}
	// A second instance is only queued for the common name, and as reachable.
	b.run(t, newFakePool(), asPool, func(f *Front) { f.o.Name = "second" })
	if err := b.client(t, otherUser).Object(Base+".app.second", poolPath).Call(introspectIface+".Introspect", 0).Err; err != nil {
		t.Errorf("the second instance: %v", err)
	}
}

func TestWithoutAPolicyTheReasonIsReported(t *testing.T) {
	needRoot(t)
	b := startBus(t, "system", systemConfig)
	r := b.begin(t, newFakePool())
	if err := <-r.errs; !strings.Contains(err.Error(), "cannot own the bus name org.scgid1: ") {
		t.Errorf("reported %v", err)
	}
}

func TestPolkitIsAskedAndAnyDoubtIsANo(t *testing.T) {
	b := systemBus(t, polkitOwn)
	p := newFakePool()
	b.run(t, p, asPool)
	var asked question
	reply, fault := true, (*dbus.Error)(nil)
	b.polkit(t, func(q question) (bool, *dbus.Error) {
		asked = q
		return reply, fault
	})
	c := b.client(t, otherUser)
	if err := pool(c).Call(poolIface+".Pause", 0, uint64(0)).Err; err != nil {
		t.Errorf("polkit said yes: %v", err)
	}
	if asked.action != actionManage || asked.flags != 0 || asked.cancel != "" || asked.subject.Kind != "system-bus-name" ||
		asked.subject.Details["name"].Value() != c.Names()[0] || asked.details["verb"] != "pause" || asked.details["pool"] != "my-app" {
		t.Errorf("asked %+v", asked)
	}
	reply = false
	err := pool(c).Call(poolIface+".Resume", 0).Err
	if errorName(err) != denied || !strings.Contains(err.Error(), fmt.Sprintf("cannot resume the intake: permission denied (uid %d may see name and state only)", otherUser)) {
		t.Errorf("polkit said no: %v", err)
	}
	reply = true
	for method, want := range map[string]string{"Reload": actionReload, "Rollback": actionReload, "Upgrade": actionManage, "Stop": actionManage} {
		var args []any
		if method == "Stop" {
			args = []any{false, uint64(0)}
		}
		if err := pool(c).Call(poolIface+"."+method, 0, args...).Err; err != nil || asked.action != want {
			t.Errorf("%s: asked for %s, %v, want %s", method, asked.action, err, want)
		}
	}
	reply, fault = true, dbus.NewError("org.freedesktop.PolicyKit1.Error.Failed", []any{"broken"})
	if err := pool(c).Call(poolIface+".Resume", 0).Err; errorName(err) != denied {
		t.Errorf("polkit is broken: %v", err)
	}
}

func TestQuestionsToPolkitAreBoundedAndKeepNobodyElseFromBeingServed(t *testing.T) {
	b := systemBus(t, polkitOwn)
	r := b.run(t, newFakePool(), asPool)
	entered, release := make(chan question, 100), make(chan struct{})
	b.polkit(t, func(q question) (bool, *dbus.Error) {
		entered <- q
		<-release
		return true, nil
	})
	done := make(chan *dbus.Call, 100)
	ask := func(uid int) {
		c := b.client(t, uid)
		for range queriesUserMax + 1 {
			m := &dbus.Message{Type: dbus.TypeMethodCall, Flags: dbus.FlagAllowInteractiveAuthorization, Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldPath: dbus.MakeVariant(poolPath), dbus.FieldDestination: dbus.MakeVariant(testName),
				dbus.FieldInterface: dbus.MakeVariant(poolIface), dbus.FieldMember: dbus.MakeVariant("Resume")}}
			c.Send(m, done)
		}
	}
	users := []int{2, 3, 6, 7, 8} // bin, sys, man, lp, mail
	for _, uid := range users[:queriesMax/queriesUserMax] {
		ask(uid)
		for range queriesUserMax {
			if q := <-entered; q.flags != 1 || q.cancel == "" {
				t.Errorf("asked %+v of a call that allows interaction", q)
			}
		}
		if call := <-done; errorName(call.Err) != denied {
			t.Errorf("one more of the same user: %v", call.Err)
		}
	}
	ask(users[queriesMax/queriesUserMax])
	for range queriesUserMax + 1 {
		if call := <-done; errorName(call.Err) != denied {
			t.Errorf("a user too many: %v", call.Err)
		}
	}
	root := b.client(t, 0)
	if err := pool(root).Call(poolIface+".Resume", 0).Err; err != nil {
		t.Errorf("root meanwhile: %v", err)
	}
	r.stop() // ends all waiting, and takes the questions back
	for range queriesMax {
		select {
		case call := <-done:
			if call.Err == nil {
				t.Error("a call was done unasked")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("calls are left without an answer")
		}
	}
	close(release)
}

func TestAQuestionThatNobodyAnswersIsTakenBack(t *testing.T) {
	b := systemBus(t, polkitOwn)
	b.run(t, newFakePool(), asPool, func(f *Front) { f.authTimeout = 50 * time.Millisecond })
	release := make(chan struct{})
	pk := b.polkit(t, func(question) (bool, *dbus.Error) {
		<-release
		return true, nil
	})
	defer close(release)
	c := b.client(t, otherUser)
	m := &dbus.Message{Type: dbus.TypeMethodCall, Flags: dbus.FlagAllowInteractiveAuthorization, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(poolPath), dbus.FieldDestination: dbus.MakeVariant(testName),
		dbus.FieldInterface: dbus.MakeVariant(poolIface), dbus.FieldMember: dbus.MakeVariant("Resume")}}
	if call := <-c.Send(m, make(chan *dbus.Call, 1)).Done; errorName(call.Err) != denied {
		t.Errorf("unanswered: %v", call.Err)
	}
	if id := <-pk.canceled; !strings.HasPrefix(id, c.Names()[0]+"/") {
		t.Errorf("took back %q", id)
	}
}

// realPolkit starts polkitd for a bus, with our actions file and a rule, which
// it sees by a mount namespace of its own.
func (b *testBus) realPolkit(t *testing.T) {
	t.Helper()
	daemon := "/usr/lib/polkit-1/polkitd"
	if _, err := os.Stat(daemon); err != nil {
		need(t, "polkitd")
	}
	if err := exec.Command(need(t, "unshare"), "-m", "true").Run(); err != nil {
		t.Skipf("needs a mount namespace: %v", err)
	}
	actions, rules := filepath.Join(b.dir, "actions"), filepath.Join(b.dir, "rules")
	for path, text := range map[string]string{
		filepath.Join(actions, "org.scgid1.policy"): shipped(t, "org.scgid1.policy", "unix-user:scgid", "unix-user:nosuchuser unix-user:daemon"),
		filepath.Join(rules, "10-test.rules"):       polkitRule,
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("unshare", "-m", "sh", "-ec", `mount --bind "$1" /usr/share/polkit-1/actions
		mount --bind "$2" /etc/polkit-1/rules.d
		exec "$3" --no-debug`, "sh", actions, rules, daemon)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+b.address)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	b.await(t, "org.freedesktop.PolicyKit1")
}

func TestARealPolkitdDecidesByTheShippedActions(t *testing.T) {
	var own strings.Builder
	for _, user := range []string{"root", "polkitd"} {
		fmt.Fprintf(&own, `<policy user="%s"><allow own="org.freedesktop.PolicyKit1"/><allow send_destination="*"/></policy>`, user)
	}
	own.WriteString(`<policy context="default"><allow send_destination="org.freedesktop.PolicyKit1"/></policy>`)
	b := systemBus(t, own.String())
	p := newFakePool()
	b.run(t, p, asPool)
	b.realPolkit(t)
	c := b.client(t, otherUser)
	if err := pool(c).Call(poolIface+".Pause", 0, uint64(0)).Err; err != nil {
		t.Errorf("a rule allows this verb: %v", err)
	}
	if err := pool(c).Call(poolIface+".Resume", 0).Err; errorName(err) != denied {
		t.Errorf("no rule allows this verb: %v", err)
	}
	// An operator may reload and go back without more.
	for method, want := range map[string]string{"Reload": "", "Rollback": "", "Upgrade": denied, "KillWorker": denied} {
		var args []any
		if method == "KillWorker" {
			args = []any{uint64(1)}
		}
		if err := pool(c).Call(poolIface+"."+method, 0, args...).Err; errorName(err) != want {
			t.Errorf("%s: %v, want %q", method, err, want)
		}
	}
	if err := pool(c).Call(poolIface+".Stop", 0, false, uint64(0)).Err; errorName(err) != denied {
		t.Errorf("who may reload stops: %v", err)
	}
	got := p.Made()
	slices.Sort(got)
	if !slices.Equal(got, []string{"pause 0s", "reload", "rollback"}) {
		t.Errorf("orders %v", got)
	}
	if got := everyVerb(b.client(t, ownUser)); got != denied {
		t.Errorf("the pool's own user: %q", got)
	}
	// A front that the actions file does not name gets no answer for others.
	b.run(t, newFakePool(), asPool, func(f *Front) {
		f.o.Name, f.uid, f.dial = "unnamed", opsUser, dialAs(opsUser, busGroup)
	})
	if err := c.Object(Name("unnamed"), poolPath).Call(poolIface+".Pause", 0, uint64(0)).Err; errorName(err) != denied {
		t.Errorf("asked by a user that owns no action: %v", err)
	}
}
