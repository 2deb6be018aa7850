package master

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

// anew is what the configuration of a rig says at the next reload.
type anew struct {
	mu    sync.Mutex
	set   Settings
	notes []string
	err   error
}

func (a *anew) reread() (Settings, []string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.set, a.notes, a.err
}

// say changes it.
func (a *anew) say(mode string, edit func(*Settings)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.set, a.err = settings(mode), nil
	if edit != nil {
		edit(&a.set)
	}
}

// beginAgain is begin with a configuration that can be read again.
func beginAgain(t *testing.T, mode string, edit func(*Settings)) (*rig, *anew) {
	t.Helper()
	a := &anew{}
	a.say(mode, edit)
	return begin(t, mode, edit, func(h *Host) { h.Reread = a.reread }), a
}

// reload must succeed.
func (r *rig) reload() control.Operation {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	o, err := r.Reload(ctx)
	if err != nil {
		r.t.Fatalf("reload: %v", err)
	}
	return o
}

// reloadFails must not, and returns why.
func (r *rig) reloadFails() string {
	r.t.Helper()
	o, err := r.Reload(context.Background())
	if err == nil {
		r.t.Fatalf("the reload succeeds: %+v", o)
	}
	if o.State != control.OpFailed || o.Error != err.Error() {
		r.t.Errorf("operation %+v, error %v", o, err)
	}
	if s := r.now().Operation; s == nil || s.State != control.OpFailed || s.ID != o.ID {
		r.t.Errorf("status shows operation %+v", s)
	}
	return err.Error()
}

// pids are the workers' processes.
func (r *rig) pids() map[int]bool {
	all := map[int]bool{}
	for _, p := range r.workers() {
		all[p.pid] = true
	}
	return all
}

func four(s *Settings) {
	s.Limits = control.Limits{MinWorkers: 4, MaxWorkers: 4, MinIdle: 0, MaxIdle: 4}
}

func TestReloadReplacesAllWorkers(t *testing.T) {
	checkFDs(t)
	r, _ := beginAgain(t, "plain", four)
	r.idle(4)
	before := r.pids()
	o := r.reload()
	if o.Generation != 2 || o.State != control.OpDone || o.Total != 4 || o.Done != 4 {
		t.Errorf("%+v", o)
	}
	r.idle(4)
	for _, p := range r.workers() {
		if before[p.pid] {
			t.Errorf("worker %d was there before", p.id)
		}
	}
	r.inLoop(func(l *loop) {
		for _, w := range l.workers.all {
			if w != nil && w.State == ready && (w.piped || w.of.Number != 2) {
				t.Errorf("worker %d: of generation %d, stderr through us: %v", w.ID, w.of.Number, w.piped)
			}
		}
	})
	if got := r.get("/generation"); got != "2" {
		t.Errorf("answered by generation %s", got)
	}
	if c := r.stopped(); c.Served != 1 || c.Lost+c.Refused != 0 {
		t.Errorf("%+v", c)
	}
}

// A crowd asks all the time.
type crowd struct {
	quit chan struct{}
	wait sync.WaitGroup
	good atomic.Int64
	bad  atomic.Int64
	last atomic.Pointer[string]
}

func (r *rig) crowd(n int, uri string) *crowd {
	c := &crowd{quit: make(chan struct{})}
	for range n {
		c.wait.Add(1)
		go func() {
			defer c.wait.Done()
			for {
				select {
				case <-c.quit:
					return
				default:
				}
				status, body := r.try(uri)
				if status == "200 OK" {
					c.good.Add(1)
					continue
				}
				status += " " + body
				c.last.Store(&status)
				c.bad.Add(1)
			}
		}()
	}
	return c
}

func (c *crowd) end(t *testing.T) {
	t.Helper()
	close(c.quit)
	c.wait.Wait()
	if n := c.bad.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, the last with %s", n, n+c.good.Load(), *c.last.Load())
	}
}

func TestReloadsUnderLoadFailNoRequestAndKeepTheBounds(t *testing.T) {
	checkFDs(t)
	r, _ := beginAgain(t, "plain", func(s *Settings) { four(s); s.Surge = 2 })
	r.idle(4)
	c := r.crowd(16, "/generation")
	most, least := atomic.Int64{}, atomic.Int64{}
	least.Store(4)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-c.quit:
				return
			default:
			}
			s, err := r.Status(context.Background())
			if err != nil {
				return
			}
			most.Store(max(most.Load(), int64(s.Workers.Total)))
			least.Store(min(least.Load(), int64(s.Workers.Idle+s.Workers.Busy)))
		}
	}()
	const reloads = 10
	for range reloads {
		r.reload()
	}
	c.end(t)
	<-watched
	if g := r.now().Generation; g != 1+reloads {
		t.Errorf("generation %d", g)
	}
	// One more where a trial begins while workers of the roll before still leave.
	if most.Load() > 4+2+1 || least.Load() < 4 {
		t.Errorf("between %d ready and %d processes", least.Load(), most.Load())
	}
	if s := r.stopped(); s.Lost+s.Refused+s.ClientGone != 0 || s.Served != uint64(c.good.Load()) {
		t.Errorf("%d answered, %+v", c.good.Load(), s)
	}
}

func TestReloadThatFailsChangesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*anew)
		want   []string
	}{
		"configuration": {func(a *anew) { a.err = errors.New("wiki.conf:2: unknown key") }, []string{"wiki.conf:2: unknown key"}},
		"last words": {func(a *anew) { a.say("say:no such database", four) },
			[]string{"could not start: it exited with status 3 before it was ready", "it wrote last:\n  first line\n  no such database?[31m"}},
		"failed": {func(a *anew) { a.say("fail", four) }, []string{"could not start: no module named ?[31mapp"}},
		"silent": {func(a *anew) { a.say("mute", func(s *Settings) { four(s); s.StartTimeout = 200 * time.Millisecond }) },
			[]string{"was not ready within StartTimeoutSec=200ms"}},
		"directory": {func(a *anew) { a.say("plain", func(s *Settings) { four(s); s.Command.Dir = "/no/such/directory" }) },
			[]string{"cannot enter the working directory /no/such/directory", "no such file"}},
		"probe": {func(a *anew) { a.say("plain", func(s *Settings) { four(s); s.ProbeURI = "/die" }) },
			[]string{"did not answer Request.ProbeURI=/die as it should"}},
	} {
		t.Run(name, func(t *testing.T) {
			checkFDs(t)
			r, a := beginAgain(t, "plain", four)
			r.idle(4)
			before := r.pids()
			c := r.crowd(4, "/generation")
			test.change(a)
			why := r.reloadFails()
			for _, want := range test.want {
				if !strings.Contains(why, want) {
					t.Errorf("the reason is %q, want %q", why, want)
				}
			}
			c.end(t)
			r.until("only the old workers", func(s control.Status, _ Counters) bool { return s.Workers.Total == 4 })
			for _, p := range r.workers() {
				if !before[p.pid] {
					t.Errorf("worker %d is new", p.id)
				}
			}
			if s := r.now(); s.Generation != 1 || s.State != control.Running || s.Starts.FailuresInRow != 0 {
				t.Errorf("%+v", s)
			}
			// And the next good one goes through.
			a.say("plain", four)
			r.reload()
			if got := r.get("/generation"); got == "1" {
				t.Error("the old generation answers")
			}
		})
	}
}

func TestProbeIsAnsweredBeforeAnybodyElse(t *testing.T) {
	checkFDs(t)
	r, a := beginAgain(t, "plain", four)
	r.idle(4)
	a.say("plain", func(s *Settings) { four(s); s.ProbeURI = "http://wiki.example/pid" })
	r.reload()
	if c := r.counters(); c.Served != 0 || c.Codes[2] != 0 {
		t.Errorf("the probe is counted: %+v", c)
	}
	r.get("/pid")
	if c := r.stopped(); c.Served != 1 || c.Codes[2] != 1 {
		t.Errorf("%+v", c)
	}
}

func TestRollbackGoesBackAndForth(t *testing.T) {
	checkFDs(t)
	dir := t.TempDir()
	a1, a2 := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	for _, d := range []string{a1, a2} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	in := func(d string) func(*Settings) { return func(s *Settings) { four(s); s.Command.Dir = d } }
	r, a := beginAgain(t, "plain", in(a1))
	r.idle(4)
	if _, err := r.Rollback(context.Background()); err == nil || !strings.Contains(err.Error(), "no generation before") {
		t.Errorf("rollback without a reload: %v", err)
	}
	a.say("plain", in(a2))
	r.reload()
	for i, want := range []string{a1, a2, a1} {
		o, err := r.Rollback(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got := r.get("/directory"); got != want || o.Generation != 3+i {
			t.Errorf("after rollback %d generation %d runs in %s, want %s", i+1, o.Generation, got, want)
		}
	}
}

func TestReleaseIsFollowedOnceInAGeneration(t *testing.T) {
	checkFDs(t)
	dir := t.TempDir()
	current := filepath.Join(dir, "current")
	switchTo := func(release string) {
		if err := os.MkdirAll(filepath.Join(dir, release), 0o755); err != nil {
			t.Fatal(err)
		}
		os.Remove(current + ".new")
		if err := os.Symlink(release, current+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(current+".new", current); err != nil {
			t.Fatal(err)
		}
	}
	switchTo("r1")
	r, _ := beginAgain(t, "plain", func(s *Settings) { four(s); s.Command.Dir = current })
	r.idle(4)
	switchTo("r2")
	for _, p := range r.workers() {
		r.kill(p.id)
	}
	r.idle(4)
	all := map[string]bool{}
	for range 20 {
		all[r.get("/directory")] = true
	}
	if len(all) != 1 || !all[filepath.Join(dir, "r1")] {
		t.Errorf("before the reload requests are answered in %v", all)
	}
	r.reload()
	if got := r.get("/directory"); got != filepath.Join(dir, "r2") {
		t.Errorf("after it in %s", got)
	}
}

// kill ends a worker as an operator would.
func (r *rig) kill(id uint64) {
	r.t.Helper()
	if err := r.Kill(context.Background(), id); err != nil {
		r.t.Fatal(err)
	}
}

func TestWorkersThatFailDuringTheRollBringTheOldOnesBack(t *testing.T) {
	checkFDs(t)
	dir := t.TempDir()
	r, a := beginAgain(t, "plain", four)
	r.idle(4)
	c := r.crowd(4, "/generation")
	// All but the first of the new generation fail.
	a.say("onceGood@"+dir, four)
	why := r.reloadFails()
	if !strings.Contains(why, "others could not start") {
		t.Errorf("the reason is %q", why)
	}
	r.until("the old generation again", func(s control.Status, _ Counters) bool {
		return s.Generation == 1 && s.Workers.Total == 4 && s.Workers.Starting == 0
	})
	c.end(t)
	if got := r.get("/generation"); got != "1" {
		t.Errorf("answered by generation %s", got)
	}
}

func TestReloadOfAnApplicationThatDoesNotStartSwitchesAtOnce(t *testing.T) {
	checkFDs(t)
	r, a := beginAgain(t, "exit", four)
	r.failuresAre(failFastAfter - 1) // from the next on it would be refused
	waits := r.send("/generation")
	a.say("plain", four)
	r.reload()
	if got := r.want(waits, "200 OK"); got != "2" {
		t.Errorf("answered by generation %s", got)
	}
	r.idle(4)
}

func TestReloadOfAnIdlePoolTriesTheApplication(t *testing.T) {
	checkFDs(t)
	none := func(s *Settings) { s.Limits = control.Limits{MinWorkers: 0, MaxWorkers: 2, MinIdle: 0, MaxIdle: 2} }
	r, a := beginAgain(t, "plain", none)
	a.say("exit", none)
	r.reloadFails()
	a.say("plain", none)
	r.reload()
	if got := r.get("/generation"); got != "3" {
		t.Errorf("answered by generation %s", got)
	}
}

func TestLongRequestsDoNotHoldUpReloads(t *testing.T) {
	checkFDs(t)
	r, _ := beginAgain(t, "plain", func(s *Settings) { s.Limits = control.Limits{MinWorkers: 2, MaxWorkers: 2, MaxIdle: 2} })
	r.idle(2)
	var all []func()
	for i := range 3 {
		c, let := r.held(fmt.Sprint("long", i))
		all = append(all, func() {
			let()
			if status, _, err := answer(c); status != "200 OK" {
				t.Errorf("a long request: %q, %v", status, err)
			}
		})
		r.reload()
	}
	if s := r.now(); s.Generation != 4 || s.Workers.Retiring < 3 {
		t.Errorf("%+v", s)
	}
	if got := r.get("/generation"); got != "4" {
		t.Errorf("answered by generation %s", got)
	}
	for _, end := range all {
		end()
	}
	r.until("only two", func(s control.Status, _ Counters) bool { return s.Workers.Total == 2 })
}

func TestReloadsThatWaitAreOne(t *testing.T) {
	checkFDs(t)
	r, _ := beginAgain(t, "plain", four)
	r.idle(4)
	var all sync.WaitGroup
	for range 20 {
		all.Add(1)
		go func() {
			defer all.Done()
			if _, err := r.Reload(context.Background()); err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait()
	if g := r.now().Generation; g < 2 || g > 4 {
		t.Errorf("generation %d after 20 reloads at once", g)
	}
}

func TestStopEndsAReload(t *testing.T) {
	checkFDs(t)
	r, a := beginAgain(t, "plain", four)
	r.idle(4)
	a.say("mute", four)
	failed := make(chan error, 1)
	go func() { _, err := r.Reload(context.Background()); failed <- err }()
	r.until("the trial", func(s control.Status, _ Counters) bool { return s.Workers.Total == 5 })
	r.stopped()
	if err := <-failed; err == nil || control.AsError(err).Code != control.CodeOver {
		t.Errorf("%v", err)
	}
}

func TestScaledLimitsOutliveAReload(t *testing.T) {
	checkFDs(t)
	r, a := beginAgain(t, "plain", four)
	six := 6
	if _, err := r.Scale(context.Background(), control.Change{MaxWorkers: &six}); err != nil {
		t.Fatal(err)
	}
	a.say("plain", func(s *Settings) { s.Limits = control.Limits{MinWorkers: 2, MaxWorkers: 5, MaxIdle: 5} })
	r.reload()
	s := r.now()
	if !s.Scaled || s.Limits.MaxWorkers != 6 || s.Limits.MinWorkers != 2 {
		t.Errorf("%+v", s.Limits)
	}
	if _, err := r.Scale(context.Background(), control.Change{Reset: true}); err != nil {
		t.Fatal(err)
	}
	if s := r.now(); s.Scaled || s.Limits.MaxWorkers != 5 {
		t.Errorf("%+v", s.Limits)
	}
	// A limit that is set to what it is stays when the file changes, and is
	// shown as set from the beginning.
	five := 5
	if _, err := r.Scale(context.Background(), control.Change{MaxWorkers: &five}); err != nil {
		t.Fatal(err)
	}
	if s := r.now(); !s.Scaled {
		t.Errorf("set to %+v, and not shown as set", s.Limits)
	}
	a.say("plain", func(s *Settings) { s.Limits = control.Limits{MinWorkers: 2, MaxWorkers: 9, MaxIdle: 5} })
	r.reload()
	if s := r.now(); !s.Scaled || s.Limits.MaxWorkers != 5 {
		t.Errorf("%v, %+v", s.Scaled, s.Limits)
	}
}

func TestABrokenApplicationIsFoundMendedWhenItsReleaseIsSwitched(t *testing.T) {
	checkFDs(t)
	dir := t.TempDir()
	current, flag := filepath.Join(dir, "current"), filepath.Join(dir, "flag")
	for _, d := range []string{"r1", "r2"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tell(flag)
	if err := os.Symlink("r1", current); err != nil {
		t.Fatal(err)
	}
	r := begin(t, "failwhile:"+flag, func(s *Settings) { oneWorker(s); s.Command.Dir = current })
	r.failuresAre(9) // the next try is 25 s away
	os.Remove(flag)
	if err := os.Symlink("r2", current+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(current+".new", current); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r.loopUntil("the switch is seen", func(l *loop) bool { return l.backoff.Failures == 0 })
	if got := r.get("/directory"); got != filepath.Join(dir, "r2") {
		t.Errorf("answered in %s", got)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("after %v", took)
	}
}

func TestWordsBelowTheDirectoryFollowIt(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("release", filepath.Join(dir, "current")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "release"), 0o755); err != nil {
		t.Fatal(err)
	}
	g := generation{set: Settings{}}
	g.set.Command.Dir = filepath.Join(dir, "current")
	g.set.Command.Argv = []string{g.set.Command.Dir + "/bin/python", "-m", "app", g.set.Command.Dir + "2", g.set.Command.Dir + "/x.wsgi"}
	c, err := g.place()
	if err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(filepath.Join(dir, "release"))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint([]string{real + "/bin/python", "-m", "app", g.set.Command.Dir + "2", real + "/x.wsgi"})
	if fmt.Sprint(c.Argv) != want || c.Dir != real {
		t.Errorf("%v in %s, want %s", c.Argv, c.Dir, want)
	}
}
