package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
)

// The scripts of testdata/script run beside a pool without processes, in which
// everything can be brought about; these beside a real scgid with real workers.
func TestScriptsWithARealPool(t *testing.T) {
	if _, err := buildScgid(); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/real",
		UpdateScripts: *update,
		Setup:         setUp,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"scgid":  startScgid,
			"exits":  exits,
			"await":  await,
			"stable": stable,
			"idle":   awaitIdle,

			"await-text":  awaitText,
			"idle-beside": awaitBeside,
			"send":        sendRequest,
			"log":         awaitLog,
			"follow":      follow,
		},
	})
}

// startScgid runs a pool in the background: scgid NAME [flags of scgid run].
// Its control socket is $SYSTEM/NAME/control.sock, its own $TOP/NAME.sock, its
// log $TOP/NAME.log.
func startScgid(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: scgid NAME [flags]")
	}
	name, top := args[0], ts.Getenv("TOP")
	program, err := buildScgid()
	ts.Check(err)
	exe, err := os.Executable()
	ts.Check(err)
	log, err := os.Create(filepath.Join(top, name+".log"))
	ts.Check(err)
	defer log.Close()
	flags := append([]string{"run", "--name", name, "--listen", filepath.Join(top, name+".sock"),
		"--set", "Control.Socket=" + filepath.Join(ts.Getenv("SYSTEM"), name, api.SocketName),
		"--set", "Worker.Environment=" + envWorker + "=good GORACE=" + noRaceSleep}, args[1:]...)
	cmd := exec.Command(program, append(flags, "--", exe)...)
	cmd.Stderr = log
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Signal(unix.SIGTERM)
		kill := time.AfterFunc(40*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		cmd.Wait()
	})
}

// follow runs scgictl events for a pool, with its output in $TOP/NAME.events,
// and returns when it has begun, which the first event shows: follow NAME.
func follow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: follow NAME")
	}
	file := filepath.Join(ts.Getenv("TOP"), args[0]+".events")
	out, err := os.Create(file)
	ts.Check(err)
	defer out.Close()
	socket := filepath.Join(ts.Getenv("SYSTEM"), args[0], api.SocketName)
	cmd := exec.Command("scgictl", "events", "--socket", socket)
	cmd.Stdout, cmd.Stderr = out, out
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Signal(unix.SIGINT)
		cmd.Wait()
	})
	c := api.NewClient(socket)
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		for _, change := range []map[string]any{{"max_idle": 3}, {"reset": true}} {
			ts.Check(c.Call(context.Background(), "scale", change, nil))
		}
		if info, err := os.Stat(file); err == nil && info.Size() > 0 {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("no event has come")
		}
	}
}

// awaitIdle waits until all workers of a pool are idle, and there is one: idle
// NAME.
func awaitIdle(ts *testscript.TestScript, neg bool, args []string) {
	awaitWorkers(ts, args, func(w control.WorkerCounts) bool { return w.Idle > 0 && w.Total == w.Idle })
}

// awaitBeside waits until one is idle beside those at work: idle-beside NAME.
func awaitBeside(ts *testscript.TestScript, neg bool, args []string) {
	awaitWorkers(ts, args, func(w control.WorkerCounts) bool { return w.Idle > 0 })
}

func awaitWorkers(ts *testscript.TestScript, args []string, are func(control.WorkerCounts) bool) {
	if len(args) != 1 {
		ts.Fatalf("usage: idle NAME")
	}
	c := api.NewClient(filepath.Join(ts.Getenv("SYSTEM"), args[0], api.SocketName))
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		st, err := c.Status(context.Background())
		if err == nil && are(st.Workers) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("the workers of %s are never so: %+v, %v", args[0], st.Workers, err)
		}
	}
}

// sendRequest has a worker work on a request until the file FILE is there; it
// returns when that has begun: send NAME FILE.
func sendRequest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: send NAME FILE")
	}
	file := ts.MkAbs(args[1])
	a, _, err := requestSpec{uri: "/slow?" + file}.build(context.Background(), nil)
	ts.Check(err)
	to := endpoint{"unix", filepath.Join(ts.Getenv("TOP"), args[0]+".sock")}
	go a.send(context.Background(), to, func(*http.Response) (io.Writer, error) { return io.Discard, nil })
	waitFor(ts, file+".at-work")
}

// awaitLog waits until the log of a pool has a text: log NAME TEXT.
func awaitLog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: log NAME TEXT")
	}
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text := ts.ReadFile(filepath.Join(ts.Getenv("TOP"), args[0]+".log"))
		if strings.Contains(text, args[1]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("the log of %s never has %q:\n%s", args[0], args[1], text)
		}
	}
}
