package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// A tmux is a terminal of its own with one program.
type tmux struct {
	t      *testing.T
	socket string
}

// runTmux runs a command in a terminal of this size, with these variables.
func runTmux(t *testing.T, width, height int, env, command []string) *tmux {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("tmux is not installed")
		}
		t.Skip("needs tmux")
	}
	dir, err := os.MkdirTemp("", "top") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	m := &tmux{t, filepath.Join(dir, "tmux")}
	args := []string{"-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height)}
	// The screen stays when the program has ended.
	m.do(append(args, append(append([]string{"env"}, env...), "sh", "-c", `"$@"; echo "status $?"; exec sleep 600`, "sh")...), command...)
	t.Cleanup(func() {
		m.do([]string{"kill-server"})
		os.RemoveAll(dir)
	})
	m.do([]string{"set", "-g", "status", "off"})
	m.resize(width, height) // the line of tmux itself is gone
	return m
}

func (m *tmux) do(args []string, more ...string) string {
	m.t.Helper()
	cmd := exec.Command("tmux", append(append([]string{"-S", m.socket}, args...), more...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TMUX=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		m.t.Fatalf("tmux %v: %v: %s", args, err, stderr.Bytes())
	}
	return string(out)
}

func (m *tmux) resize(width, height int) {
	m.t.Helper()
	m.do([]string{"resize-window", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height)})
}

func (m *tmux) screen() string {
	m.t.Helper()
	return m.do([]string{"capture-pane", "-p"})
}

// until waits for a screen and returns it.
func (m *tmux) until(what string, shows func(screen string) bool) string {
	m.t.Helper()
	screen := ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if screen = m.screen(); shows(screen) {
			return screen
		}
	}
	m.t.Fatalf("it never shows %s, but\n%s", what, screen)
	return ""
}

func (m *tmux) shows(text string) string {
	m.t.Helper()
	return m.until(strconv.Quote(text), func(s string) bool { return strings.Contains(s, text) })
}

func (m *tmux) keys(keys ...string) {
	m.t.Helper()
	m.do([]string{"send-keys"}, keys...)
}

// topPool runs a fakepool as a process and returns its socket and what ends it.
func topPool(t *testing.T, flags ...string) (socket string, end func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "top")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, api.SocketName)
	return socket, startTopPool(t, socket, flags...)
}

func startTopPool(t *testing.T, socket string, flags ...string) (end func()) {
	t.Helper()
	os.Remove(socket + ".ready")
	cmd := exec.Command(os.Args[0], append([]string{"-name", "wiki", "-socket", socket}, flags...)...)
	cmd.Env = append(os.Environ(), envPool+"=1")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Signal(unix.SIGTERM)
			_ = cmd.Wait()
		}
	}
	t.Cleanup(end)
	for limit := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(socket + ".ready"); err == nil {
			return end
		}
		if time.Now().After(limit) {
			t.Fatal("the pool does not begin")
		}
	}
}

// watch runs scgictl top in a terminal.
func watch(t *testing.T, width, height int, socket string, env ...string) *tmux {
	t.Helper()
	exe := filepath.Join(filepath.Dir(socket), "scgictl") // by this name the test binary is scgictl, see TestMain
	if err := os.Symlink(os.Args[0], exe); err != nil {
		t.Fatal(err)
	}
	env = append([]string{"LC_ALL=C.UTF-8", "TZ=UTC", envPool + "="}, env...)
	return runTmux(t, width, height, env, []string{exe, "top", "--socket", socket, "-n", "200ms"})
}

// topVaries are what differs from run to run on a screen.
var topVaries = []struct {
	form *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\d\d:\d\d:\d\d`), "HH:MM:SS"},
	{regexp.MustCompile(`((?:requests|queue|service)   ? ?(?:\d+\.\d/s|-)) +[▁▂▃▄▅▆▇█]+`), "$1 CURVE"},
}

func topStable(screen string) string {
	for _, v := range topVaries {
		screen = v.form.ReplaceAllString(screen, v.as)
	}
	return strings.TrimRight(screen, "\n")
}

// settled waits until the figures that need two looks are there.
func (m *tmux) settled() string {
	m.t.Helper()
	return m.until("a rate", func(s string) bool { return strings.Contains(s, "0.0/s") && !strings.Contains(s, "asking") })
}

func TestTopInATerminal(t *testing.T) {
	socket, _ := topPool(t, "-busy", "4", "-waiting", "2", "-odd")
	m := watch(t, 80, 24, socket)
	golden(t, "tmux-80x24", topStable(m.settled()))

	m.resize(200, 50)
	m.shows("CLIENT")
	golden(t, "tmux-200x50", topStable(m.settled()))

	m.resize(60, 15)
	m.until("no CLIENT", func(s string) bool { return !strings.Contains(s, "CLIENT") && strings.Contains(s, "q quit") })
	golden(t, "tmux-60x15", topStable(m.settled()))

	m.keys("?")
	m.shows("freeze the screen")
	m.keys("?")
	m.shows("workers by id")
	m.keys("s")
	m.shows("workers by CPU")
	m.keys("n")
	m.shows("workers by requests served")
	m.keys("q")
	m.shows("status 0")
	if s := m.screen(); strings.Contains(s, "workers by") {
		t.Errorf("the terminal is not as it was:\n%s", s)
	}
}

func TestTopSteersThePoolFromATerminal(t *testing.T) {
	socket, _ := topPool(t, "-busy", "2")
	pool := api.NewClient(socket)
	m := watch(t, 80, 24, socket)
	m.settled()

	m.keys("Down", "r")
	m.shows("[y/n] Retire worker 2, which is busy?")
	m.keys("n")
	m.shows("nothing was done")
	if w := workersOf(t, pool); w[1].State != control.WorkerReady {
		t.Errorf("worker 2 is %s without a yes", w[1].State)
	}
	m.keys("r")
	m.shows("[y/n] Retire worker 2")
	m.keys("y")
	m.shows("worker 2 finishes what it holds and leaves")
	if w := workersOf(t, pool); w[1].ID != 2 || w[1].State != control.WorkerRetiring {
		t.Errorf("worker %d is %s after retiring 2", w[1].ID, w[1].State)
	}
	m.shows("retiring 1")

	m.keys("k")
	m.shows("[y/n] Kill worker 2, which loses GET /page/1")
	m.keys("y")
	m.shows("worker 2 is killed")
	if w := workersOf(t, pool); len(w) != 2 || w[1].ID != 3 {
		t.Errorf("worker 2 was killed, but there are %v", w)
	}
	m.keys("End", "d")
	m.shows("[y/n] Have worker 3 write its stacks")
	m.keys("y")
	m.shows("cannot dump worker 3: it did not say that it can")
	m.keys("C-c")
	m.shows("status 0")
}

func workersOf(t *testing.T, pool *api.Client) []control.Worker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	w, err := pool.Workers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestTopInATerminalOutlivesThePool(t *testing.T) {
	socket, end := topPool(t, "-busy", "2")
	m := watch(t, 80, 24, socket)
	m.settled()
	end()
	m.shows("not running")
	m.shows("trying again since")
	startTopPool(t, socket, "-busy", "1")
	m.until("the new pool", func(s string) bool { return strings.Contains(s, "1 busy") && !strings.Contains(s, "trying again") })
}

func TestTopInATerminalSaysThatItMayNot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	socket, _ := topPool(t, "-access", "name")
	dir := filepath.Dir(socket)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := watch(t, 80, 24, socket, envUID+"="+strconv.Itoa(nobody))
	m.shows("permission denied (uid 65534 may see name and state only)")
	m.keys("k")
	m.shows("there is no worker to kill")
	m.keys("q")
	m.shows("status 0")
}

// colourIn finds a colour in what a terminal got.
var colourIn = regexp.MustCompile(`\x1b\[[0-9;]*3[0-7]m`)

func TestTopHasColourUnlessItIsNotWanted(t *testing.T) {
	for _, env := range []string{"NO_COLOR=", "NO_COLOR=1"} {
		socket, _ := topPool(t, "-busy", "2")
		m := watch(t, 80, 24, socket, env)
		m.settled()
		if got := colourIn.MatchString(m.do([]string{"capture-pane", "-p", "-e"})); got != (env == "NO_COLOR=") {
			t.Errorf("%s: colour is %v", env, got)
		}
	}
}
