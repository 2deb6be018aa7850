package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/scgid/scgid/worker/scgi"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"scgibench": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Values["server"] = &responder{first: make(chan struct{})}
			env.Setenv("PID", strconv.Itoa(os.Getpid()))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": cmdServe,
			"await": cmdAwait,
			"exits": cmdExits,
			"keys":  cmdKeys,
		},
	})
}

// A responder reads each request and answers with a fixed text.
type responder struct {
	reply string
	hold  bool // never answer
	first chan struct{}
	once  sync.Once
}

// cmdServe: serve [-hold] SOCKET REPLY, with Go's escapes in the reply.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	r := ts.Value("server").(*responder)
	if len(args) > 0 && args[0] == "-hold" {
		r.hold, args = true, append(args[1:], "")
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: serve [-hold] SOCKET REPLY")
	}
	var err error
	r.reply, err = strconv.Unquote(`"` + args[1] + `"`)
	ts.Check(err)
	ln, err := net.Listen("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go r.answer(conn)
		}
	}()
}

func (r *responder) answer(conn net.Conn) {
	defer conn.Close()
	req, err := scgi.ReadRequest(bufio.NewReader(conn), 0)
	if err != nil {
		return
	}
	io.Copy(io.Discard, req.Body)
	r.once.Do(func() { close(r.first) })
	if r.hold {
		io.Copy(io.Discard, conn)
		return
	}
	reply := strings.ReplaceAll(r.reply, "URI", req.Header.Get("REQUEST_URI"))
	reply = strings.ReplaceAll(reply, "METHOD", req.Header.Get("REQUEST_METHOD"))
	reply = strings.ReplaceAll(reply, "SIZE", req.Header.Get("CONTENT_LENGTH"))
	reply = strings.ReplaceAll(reply, "EXTRA", req.Header.Get("HTTP_EXTRA"))
	io.WriteString(conn, reply)
}

// cmdAwait waits until the first request has come.
func cmdAwait(ts *testscript.TestScript, _ bool, _ []string) {
	<-ts.Value("server").(*responder).first
}

// cmdExits: exits CODE ARG... runs scgibench and wants that exit status.
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("scgibench", args[1:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit status %d, want %s", code, args[0])
	}
}

// cmdKeys: keys FILE GOLDEN compares the keys of a JSON object, and of the
// objects in it, with a list.
func cmdKeys(ts *testscript.TestScript, _ bool, args []string) {
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &object))
	got := strings.Join(keys("", object), "\n")
	if want := strings.TrimSpace(ts.ReadFile(args[1])); got != want {
		ts.Fatalf("keys:\n%s\nwant:\n%s", got, want)
	}
}

func keys(prefix string, object map[string]any) (all []string) {
	for _, key := range slices.Sorted(maps.Keys(object)) {
		all = append(all, prefix+key)
		if inner, ok := object[key].(map[string]any); ok {
			all = append(all, keys(prefix+key+".", inner)...)
		}
	}
	return all
}

func TestHelpNamesEveryJSONKeyAndKind(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "script", "json.txt"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(golden), "-- keys --\n")
	n := 0
	for _, path := range strings.Fields(list) {
		name := path[strings.LastIndexByte(path, '.')+1:]
		if _, err := strconv.Atoi(name); err == nil {
			continue // a status code
		}
		n++
		if !strings.Contains(help, name) {
			t.Errorf("--help does not name %s", name)
		}
	}
	if n < 30 {
		t.Errorf("only %d keys in json.txt", n)
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "17": 17, "4K": 4096, "3M": 3 << 20, "2G": 2 << 30} {
		if got, err := size(s); err != nil || got != want {
			t.Errorf("%s is %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "K", "-1", "1k", "1KK", "x", "9999999999G", "1.5M"} {
		if got, err := size(s); err == nil {
			t.Errorf("%q is %d", s, got)
		}
	}
}

func TestProgressIsOneLineThatGoesAway(t *testing.T) {
	var b bench
	var out strings.Builder
	begin := time.Now()
	tick, quit, gone := make(chan time.Time), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		b.show(&out, begin, tick, quit)
	}()
	for s := range 3 {
		tick <- begin.Add(time.Duration(s+1) * time.Second)
	}
	close(quit)
	<-gone
	const want = "\r\x1b[K2 s: 0 requests, 0/s\r\x1b[K3 s: 0 requests, 0/s\r\x1b[K"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
