package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/master/config"
)

var update = flag.Bool("update", false, "write what is printed into the scripts")

func TestMain(m *testing.M) {
	if os.Getenv(envPool) != "" {
		os.Exit(fakepool(os.Args[1:]))
	}
	testscript.Main(m, map[string]func(){
		"scgictl":  func() { os.Exit(scgictl()) },
		"fakepool": func() { os.Exit(fakepool(os.Args[1:])) },

		"printci": func() {
			if ci, ok := os.LookupEnv("CI"); ok {
				os.Stdout.WriteString("CI=" + ci)
			}
		},
		"left-socket": func() { leftSocket(os.Args[1]) },
		"not-scgid":   func() { notScgid(os.Args[1]) },
	})
}

// Variables of the scripts: where the directories of the system's pools are,
// as who to run, what stands for the directory that systemd makes, nginx, how long a
// new program may take to answer, and where configurations are.
const (
	envSystem  = "SCGICTL_TEST_SYSTEM"
	envUID     = "SCGICTL_TEST_UID"
	envEUID    = "SCGICTL_TEST_EUID"
	envSystemd = "SCGICTL_TEST_SYSTEMD"
	envNginx   = "SCGICTL_TEST_NGINX"
	envUpgrade = "SCGICTL_TEST_UPGRADE_LIMIT"
	envConfig  = "SCGICTL_TEST_CONFIG"
	envWidth   = "SCGICTL_TEST_WIDTH" // of the screen

	envPool = "SCGICTL_TEST_POOL" // the test binary is fakepool
)

// scgictl is the command itself, on a machine of its own.
func scgictl() int {
	if uid, err := strconv.Atoi(os.Getenv(envUID)); err == nil {
		become(uid, "")
	}
	c := newCtl()
	c.root = os.Getenv(envSystem)
	if w, err := strconv.Atoi(os.Getenv(envWidth)); err == nil {
		c.out.width = w
	}
	c.systemd = os.Getenv(envSystemd)
	c.nginx = os.Getenv(envNginx)
	if uid, err := strconv.Atoi(os.Getenv(envEUID)); err == nil {
		c.uid = uid
	}
	if d, err := time.ParseDuration(os.Getenv(envUpgrade)); err == nil {
		c.upgradeLimit = d
	}
	if dir := os.Getenv(envConfig); dir != "" {
		c.configs = config.Roots{dir}
	}
	return run(c, os.Args[1:])
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup:         setUp,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"pool":   startPool,
			"await":  await,
			"exits":  exits,
			"stable": stable,

			"await-state": awaitState,
			"await-text":  awaitText,
			"mainpid":     mainPIDOf,
			"harmless":    isHarmless,
		},
	})
}

// noRaceSleep has processes of the race detector end when they end, not a
// second later.
const noRaceSleep = "atexit_sleep_ms=0"

// setUp gives a script directories that all users can pass, and whose paths
// are short enough for a socket: $SYSTEM and $USERS/scgid.
func setUp(env *testscript.Env) error {
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		return err
	}
	env.Defer(func() { os.RemoveAll(dir) })
	for _, d := range []string{dir, dir + "/system", dir + "/user", dir + "/user/scgid"} {
		if err := os.Mkdir(d, 0o755); err != nil && !os.IsExist(err) {
			return err
		}
		if err := os.Chmod(d, 0o755); err != nil {
			return err
		}
	}
	env.Setenv("TOP", dir)
	env.Setenv("SYSTEM", dir+"/system")
	env.Setenv("MINE", dir+"/user/scgid")
	env.Setenv("XDG_RUNTIME_DIR", dir+"/user")
	env.Setenv(envSystem, dir+"/system")
	env.Setenv(envConfig, dir+"/no-config")
	env.Setenv(envSystemd, dir+"/no-systemd")
	env.Setenv("LC_ALL", "C.UTF-8")
	env.Setenv("TZ", "UTC")
	env.Setenv("GORACE", noRaceSleep)
	env.Setenv("ODD", "./\x1b]0;owned\a\x1b[2J\u009b31m\u202e")
	return nil
}

// startPool runs a fakepool in the background and waits until it answers:
// pool NAME FLAGS. Its socket is $SYSTEM/NAME/control.sock, or the user's with
// the flag -mine. The script's end ends it.
func startPool(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: pool NAME [-mine] [flags of fakepool]")
	}
	name, flags, root := args[0], args[1:], ts.Getenv("SYSTEM")
	if len(flags) > 0 && flags[0] == "-mine" {
		root, flags = ts.Getenv("MINE"), flags[1:]
	}
	socket := filepath.Join(root, name, api.SocketName)
	exe, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(exe, append([]string{"-name", name, "-socket", socket}, flags...)...)
	cmd.Env = append(os.Environ(), envPool+"=1", "GORACE="+noRaceSleep)
	cmd.Stderr = os.Stderr
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Signal(unix.SIGTERM)
		cmd.Wait()
	})
	waitFor(ts, socket+".ready")
}

// exits runs a command that ends with this status: exits N COMMAND.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		got = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("%s exited with status %d, want %s", args[1], got, args[0])
	}
}

// await waits for files that another process makes.
func await(ts *testscript.TestScript, neg bool, files []string) {
	for _, f := range files {
		waitFor(ts, ts.MkAbs(f))
	}
}

func waitFor(ts *testscript.TestScript, file string) {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("there is no %s", file)
		}
	}
}

// What differs from run to run.
var varying = []struct {
	form *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:[\d.]+(Z|[+-]\d\d:\d\d)`), "TIMESTAMP"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "DAY TIME"},
	{regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`), "TIME"},
	{regexp.MustCompile(`uid \d+`), "uid UID"},
	{regexp.MustCompile(`process [1-9]\d+`), "process PID"},
}

// stable writes stdout or stderr to the file out or err, with what differs
// from run to run replaced.
func stable(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stable stdout|stderr")
	}
	text := strings.ReplaceAll(ts.ReadFile(args[0]), ts.Getenv("TOP"), "TOP")
	for _, c := range varying {
		text = c.form.ReplaceAllString(text, c.as)
	}
	ts.Check(os.WriteFile(ts.MkAbs(strings.TrimPrefix(args[0], "std")), []byte(text), 0o666))
}

// awaitState waits until a pool is in a state: await-state NAME STATE.
func awaitState(ts *testscript.TestScript, neg bool, args []string) {
	c := api.NewClient(filepath.Join(ts.Getenv("SYSTEM"), args[0], api.SocketName))
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		st, err := c.Status(context.Background())
		if err == nil && st.State == args[1] {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s is never %s: %v", args[0], args[1], err)
		}
	}
}

// awaitText waits until a file has a text that another process writes:
// await-text FILE TEXT.
func awaitText(ts *testscript.TestScript, neg bool, args []string) {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(text), args[1]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s never has %q, but %q, %v", args[0], args[1], text, err)
		}
	}
}

// mainPIDOf sets $MAINPID to the process that serves a pool: mainpid NAME.
func mainPIDOf(ts *testscript.TestScript, neg bool, args []string) {
	peer, err := api.NewClient(filepath.Join(ts.Getenv("SYSTEM"), args[0], api.SocketName)).Peer(context.Background())
	ts.Check(err)
	ts.Setenv("MAINPID", strconv.Itoa(peer.PID))
}

// isHarmless wants text without anything that a terminal obeys.
func isHarmless(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(args[0])
	if text == "" {
		ts.Fatalf("%s is empty", args[0])
	}
	if !utf8.ValidString(text) {
		ts.Fatalf("%s is no UTF-8", args[0])
	}
	for i, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			ts.Fatalf("%s has %q at %d", args[0], r, i)
		}
	}
}

// leftSocket makes a socket on which nobody answers.
func leftSocket(path string) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		panic(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// notScgid serves one connection of another protocol.
func notScgid(path string) {
	l, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(path+".ready", nil, 0o666); err != nil {
		panic(err)
	}
	conn, err := l.Accept()
	if err != nil {
		panic(err)
	}
	io.WriteString(conn, "220 \x1b[2Jmail.example ESMTP\r\n")
	io.Copy(io.Discard, conn)
	conn.Close()
	l.Close()
}
