package webserver_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The end of a reply is where web servers differ: nginx leaves with the last byte
// that was stated, Apache reads nothing before it has sent all of the body.

// A program that has replied whole does what it has to do after that.
func TestProgramsFinishTheirWork(t *testing.T) {
	dir := place(t)
	program, note := filepath.Join(dir, "commit.sh"), filepath.Join(dir, "note")
	must(t, os.WriteFile(program, []byte("#!/bin/sh\ncase $QUERY_STRING in\n"+
		"none) printf 'Status: 204\\n\\n';;\n"+
		"*) printf 'Content-Length: 4\\n\\ndone';;\nesac\nsleep 0.02\necho work >>"+note+"\n"), 0o755))
	for _, b := range begins {
		t.Run(b.kind, func(t *testing.T) {
			must(t, os.WriteFile(note, nil, 0o666))
			s := &site{t: t, client: newClient(t), pool: cgi(t, "commit", program)}
			s.front = b.begin(t, swap{exampleSock, s.pool.sock})
			for range 5 {
				s.want(s.do("POST", "/x", "some=thing"), 200, "done")
				s.want(s.do("POST", "/x?none", "some=thing"), 204, "")
			}
			s.pool.finish()
			if text, err := os.ReadFile(note); strings.Count(string(text), "work") != 10 || err != nil {
				t.Errorf("of 10 programs these have done their work: %q, %v", text, err)
			}
			if strings.Contains(s.pool.log.String(), "the client left") {
				t.Errorf("the log says\n%s", s.pool.log)
			}
		})
	}
}

// The header of an endless reply is a whole reply to HEAD.
func TestHeadOfAnEndlessReplyKeepsNoWorker(t *testing.T) {
	dir := place(t)
	file := filepath.Join(dir, "endless.wsgi")
	must(t, os.WriteFile(file, []byte("import time\ndef application(env, start):\n"+
		"    start('200 OK', [('Content-Type', 'text/event-stream')])\n"+
		"    if env['PATH_INFO'] == '/end':\n        yield b'end'\n        return\n"+
		"    while True:\n        yield b'more\\n'\n        time.sleep(0.05)\n"), 0o644))
	for _, b := range begins {
		t.Run(b.kind, func(t *testing.T) {
			s := &site{t: t, client: newClient(t)}
			s.pool = startPool(t, place(t), "endless", []string{"Pool.MaxWorkers=1"}, python(t), "scgi-wsgi", file)
			s.front = b.begin(t, swap{exampleSock, s.pool.sock})
			for range 3 {
				s.want(s.do("HEAD", "/", ""), 200, "")
			}
			s.want(s.get("/end"), 200, "end")
		})
	}
}

// Handlers in Go may reply before they have read the body, or without reading it.
func TestGoHandlersReplyBeforeTheyRead(t *testing.T) {
	dir := place(t)
	program := filepath.Join(dir, "goworker")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./testdata/goworker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	body := strings.Repeat("0123456789abcdef", 10<<20/16)
	for _, b := range begins {
		t.Run(b.kind, func(t *testing.T) {
			s := &site{t: t, client: newClient(t), pool: startPool(t, place(t), "go", nil, program)}
			s.front = b.begin(t, swap{exampleSock, s.pool.sock})
			for path, want := range map[string]int{"/ignore": 1 << 20, "/echo": len(body), "/early": len(body)} {
				r := s.do("POST", path, body)
				if r.StatusCode != 200 || len(r.text) != want {
					t.Errorf("%s: status %d, %d of %d bytes", path, r.StatusCode, len(r.text), want)
				}
			}
		})
	}
}
