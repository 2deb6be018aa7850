package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

func TestUpgradesUnderLoadAreNotNoticed(t *testing.T) {
	u := startUpgradable(t, nil, eightWorkers...)
	u.allReady(8)
	if err := u.c.Call(t.Context(), "scale", map[string]any{"min_workers": 6, "max_workers": 6}, nil); err != nil {
		t.Fatal(err)
	}
	pids := u.allReady(6)
	u.install("two")
	u.upgrade()
	quiet := u.fds()
	l := startTraffic(u.addr, 32)
	u.until("there is load", func() bool { return l.n.Load() > 500 })
	first := u.now()
	for i := range 20 * soak() {
		name := []string{"one", "two"}[i%2]
		u.install(name)
		before := u.now()
		op, _ := u.upgrade()
		after := u.now()
		if op.State != control.OpDone || op.Kind != control.OpUpgrade || op.ID != uint64(i+2) {
			t.Errorf("upgrade %d: %+v", i+1, op)
		}
		if after.Version != name || after.Build == before.Build || after.Build == "" {
			t.Errorf("version %s, build %q; before %s, %q", after.Version, after.Build, before.Version, before.Build)
		}
		if after.PID != u.cmd.Process.Pid || !after.Since.Equal(first.Since) || after.Limits != first.Limits || !after.Scaled ||
			after.Requests.Served < before.Requests.Served || after.Starts != first.Starts || after.Generation != first.Generation {
			t.Errorf("after upgrade %d:\n%+v\nat first:\n%+v", i+1, after, first)
		}
	}
	if now := u.allReady(6); !slices.Equal(now, pids) {
		t.Errorf("workers %v, were %v", now, pids)
	}
	executed := l.end(t, u.journal)
	l.judge(t, executed)
	for key, why := range l.failed {
		t.Errorf("%s failed: %s", key, why)
	}
	u.until("no descriptor is left over", func() bool { return u.fds() <= quiet })
	st := u.now()
	if st.Requests.Served != uint64(len(l.good)) || st.Requests.Lost+st.Requests.Refused+st.Requests.Bad != 0 {
		t.Errorf("counted %+v, clients saw %d good", st.Requests, len(l.good))
	}
	t.Logf("%d requests, %d failed; %d descriptors at rest", len(l.good)+len(l.failed), len(l.failed), u.fds())
	u.stop()
}

// Reloads wait for their turn, and those that still wait when the program is
// executed are made by the next one.
func TestReloadsAndUpgradesUnderLoadFailNoRequest(t *testing.T) {
	u := startUpgradable(t, nil, "--set", "Pool.MinWorkers=3", "--set", "Pool.MaxWorkers=3")
	u.allReady(3)
	l := startTraffic(u.addr, 32)
	endHups := u.throw(unix.SIGHUP, 20*time.Millisecond)
	for i := range 5 * soak() {
		name := []string{"two", "one"}[i%2]
		u.install(name)
		_ = u.c.Call(t.Context(), "upgrade", nil, nil) // the connection is cut
		u.until("upgraded", func() bool { return u.now().Version == name })
	}
	endHups()
	u.until("the last has ended", func() bool { return u.now().Operation.State != control.OpRunning })
	var all []control.Worker
	u.until("all workers are of one generation", func() bool {
		st := u.now()
		var err error
		all, err = u.c.Workers(t.Context())
		return err == nil && len(all) == 3 && !slices.ContainsFunc(all, func(w control.Worker) bool { return w.Generation != st.Generation })
	})
	l.judge(t, l.end(t, u.journal))
	for key, why := range l.failed {
		t.Errorf("%s failed: %s", key, why)
	}
	if u.now().Generation < 3 {
		t.Errorf("only %d generations: nothing was tested", u.now().Generation)
	}
	t.Logf("%d requests, %d failed, %d generations", len(l.good)+len(l.failed), len(l.failed), u.now().Generation)
	u.stop()
}

func TestAReloadThatWaitsForAnUpgradeIsMadeByTheNextProgram(t *testing.T) {
	u := startUpgradable(t, nil)
	u.install("two")
	ended := make(chan bool)
	go func() {
		_ = u.c.Call(t.Context(), "upgrade", nil, nil)
		close(ended)
	}()
	u.until("it is under way", func() bool { o := u.now().Operation; return o != nil && o.Kind == control.OpUpgrade })
	u.cmd.Process.Signal(unix.SIGHUP)
	<-ended
	u.until("both are done", func() bool {
		st := u.now()
		return st.Version == "two" && st.Generation == 2 && st.Operation.Kind == control.OpReload && st.Operation.State == control.OpDone
	})
	u.stop()
}

func TestWhatIsHeldAtEveryPlaceIsAnsweredAfterAnUpgrade(t *testing.T) {
	u := startUpgradable(t, nil, "--set", "Pool.MinWorkers=1", "--set", "Pool.MaxWorkers=1", "--set", "Queue.Max=5")
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	answers := make(chan string, 20)
	ask := func(key string) {
		go func() {
			text, err := exchange(u.addr, key)
			answers <- fmt.Sprint(strings.TrimPrefix(text, "Status: 200 OK\r\n\r\n"), err)
		}()
	}
	ask("/fifo" + fifo)
	u.until("it is at work", func() bool { return u.now().Requests.Active == 1 })
	ask("/waits")
	u.until("it waits", func() bool { return u.now().Queue.Waiting == 1 })
	parked, err := net.Dial("unix", u.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer parked.Close()
	header, err := scgi.AppendHeader(nil, []scgi.Var{{Name: "CONTENT_LENGTH", Value: "0"}, {Name: "REQUEST_URI", Value: "/parked"}})
	if err != nil {
		t.Fatal(err)
	}
	parked.Write(header[:20])
	u.until("it is parked", func() bool { return u.now().Queue.Parked == 1 })
	if err := u.c.Call(t.Context(), "pause", map[string]any{"limit": 3600}, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		ask(fmt.Sprint("/backlog-", i))
	}
	u.until("they wait in the kernel", func() bool { return u.now().Queue.Listeners[0].Backlog == 10 })

	u.install("two")
	if op, answer := u.upgrade(); op.State != control.OpDone {
		t.Fatalf("%+v, %v", op, answer)
	}
	st := u.now()
	if st.State != control.Paused || st.ResumesIn < 3000 || st.Queue.Waiting != 1 || st.Queue.Parked != 1 || st.Requests.Active != 1 || st.Queue.Listeners[0].Backlog != 10 {
		t.Errorf("after the upgrade: %+v", st)
	}
	parked.Write(header[20:])
	if err := os.WriteFile(fifo, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := u.c.Call(t.Context(), "resume", nil, nil); err != nil {
		t.Fatal(err)
	}
	parked.SetReadDeadline(time.Now().Add(60 * time.Second))
	buf := make([]byte, 1000)
	if n, err := parked.Read(buf); err != nil || !strings.HasSuffix(string(buf[:n]), "/parked") {
		t.Errorf("the parked one got %q, %v", buf[:n], err)
	}
	want := []string{"/fifo" + fifo + "<nil>", "/waits<nil>"}
	for i := range 10 {
		want = append(want, fmt.Sprint("/backlog-", i, "<nil>"))
	}
	var got []string
	for range want {
		got = append(got, <-answers)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	u.stop()
}

func TestWorkersThatDieAroundAnUpgradeLoseOnlyWhatTheyHadRead(t *testing.T) {
	u := startUpgradable(t, nil, eightWorkers...)
	u.allReady(8)
	l := startTraffic(u.addr, 32)
	stop, done := make(chan bool), make(chan int)
	go func() { done <- u.killReady(stop) }()
	for i := range 10 * soak() {
		u.install([]string{"two", "one"}[i%2])
		if op, answer := u.upgrade(); op.State != control.OpDone {
			t.Errorf("%+v, %v", op, answer)
		}
	}
	close(stop)
	killed := <-done
	l.judge(t, l.end(t, u.journal))
	u.stop()
	served, lost, refused := u.counted()
	t.Logf("%d SIGKILLs: %d requests answered, %d had been read and were lost; scgid counted %d served, %d lost",
		killed, len(l.good), len(l.failed), served, lost)
	if served+lost != len(l.good)+len(l.failed) || lost < len(l.failed) || refused != 0 || killed == 0 {
		t.Errorf("scgid counted %d served, %d lost, %d refused; clients saw %d good, %d failed", served, lost, refused, len(l.good), len(l.failed))
	}
}

// killReady kills one worker after the other until stop is closed, and returns
// how many. (A trial of the new program is a child too, and left alone.)
func (u *upgradable) killReady(stop chan bool) (killed int) {
	for {
		all, err := u.c.Workers(u.t.Context())
		all = slices.DeleteFunc(all, func(w control.Worker) bool { return w.State != control.WorkerReady })
		select {
		case <-stop:
			return killed
		case <-time.After(time.Duration(rand.IntN(50_000)) * time.Microsecond):
		}
		if err == nil && len(all) >= 4 && unix.Kill(all[rand.IntN(len(all))].PID, unix.SIGKILL) == nil {
			killed++
		}
	}
}
