package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/worker"
	"github.com/scgid/scgid/worker/scgi"
)

// odd sets a title, clears the screen, colours and reorders what follows, by
// ESC and by C1 controls, and forges a line.
const odd = "\x1b]0;owned\a\x1b[2J\x1b[H\u009b31m\u202e\r\nscgictl: all is well\x7f\x00"

func oddWorker() {
	w, err := worker.Open()
	if err != nil {
		panic(err)
	}
	if err := w.Status("working " + odd); err != nil {
		panic(err)
	}
	if err := w.Ready(1); err != nil {
		panic(err)
	}
	for {
		c, err := w.Accept()
		if err != nil {
			os.Exit(0)
		}
		_, _ = io.Copy(io.Discard, c) // until the client has had enough
		c.Close()
	}
}

// What a client puts into a request, and a worker into STATUS= and FAILED=,
// goes through a real master, over the control socket and through every verb
// that shows it, and no byte of it is obeyed.
func TestNothingFromOutsideReachesATerminalRaw(t *testing.T) {
	s := newSite(t, "odd", "MaxWorkers=1", serving)
	conn, err := net.Dial("unix", s.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head, err := scgi.AppendHeader(nil, []scgi.Var{{Name: "CONTENT_LENGTH", Value: "0"}, {Name: "REQUEST_METHOD", Value: "G\x1b[5mET"},
		{Name: "REQUEST_URI", Value: "/evil" + strings.ReplaceAll(odd, "\x00", "")}, {Name: "REMOTE_ADDR", Value: "\x1b[31m::1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(head); err != nil {
		t.Fatal(err)
	}
	s.until("it is at work", func() bool {
		st, err := s.client.Status(context.Background())
		return err == nil && st.Requests.Active == 1
	})
	failed := newSite(t, `cannot start \x1b]0;owned\x07\x1b[2J\x1b[H\x1b[31m`, "", failing)

	var lines []string // for a terminal
	seen := 0
	for _, at := range []*site{s, failed} {
		socket := at.client.Socket()
		for _, verb := range []string{"status", "workers", "requests", "explain", "config", "metrics", "top --once -n 100ms"} {
			args := append(strings.Fields(verb), "--socket", socket)
			if verb != "metrics" { // it is long
				lines = append(lines, "scgictl "+strings.Join(args, " "))
			}
			for _, form := range [][]string{args, append(args, "--json")} {
				out, errs, status := ctlRun(t, form...)
				if status != exitDone {
					t.Errorf("%v: exit status %d: %s", form, status, errs)
				}
				for _, r := range out + errs {
					if r != '\n' && !unicode.IsPrint(r) || r == '\u202e' {
						t.Errorf("%v prints %q:\n%q", form, r, out)
						break
					}
				}
				if !utf8.ValidString(out) {
					t.Errorf("%v prints no UTF-8", form)
				}
				for line := range strings.Lines(out) {
					if strings.HasPrefix(line, "scgictl: all is well") {
						t.Errorf("%v prints a forged line", form)
					}
				}
				if strings.Contains(out, "/evil?]0;owned") || strings.Contains(out, "cannot start ?]0;owned") {
					seen++
				}
			}
		}
	}
	if seen < 8 {
		t.Errorf("the odd texts are in %d outputs only", seen)
	}
	script := filepath.Join(s.dir, "all.sh")
	if err := os.WriteFile(script, []byte("echo first-line\n"+strings.Join(lines, "\n")+"\necho last-line\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := runTmux(t, 160, 200, []string{"LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH")}, []string{"sh", script})
	screen := m.shows("last-line")
	if title := m.do([]string{"display-message", "-p", "#{pane_title}"}); strings.Contains(title, "owned") {
		t.Errorf("the terminal's title is %q", title)
	}
	if !strings.HasPrefix(screen, "first-line") || !strings.Contains(screen, "/evil") {
		t.Errorf("the screen was changed:\n%s", screen)
	}
	// And for who asks by other means: JSON of the control socket, and events.
	st, err := failed.client.Status(context.Background())
	if err != nil || st.State != control.Failing || strings.ContainsFunc(st.Starts.LastFailure, unicode.IsControl) {
		t.Errorf("the master tells %q, %v", st.Starts.LastFailure, err)
	}
	scan := bufio.NewScanner(strings.NewReader(failed.log.String()))
	for scan.Scan() {
		if strings.ContainsAny(scan.Text(), "\x1b\a\u009b\u202e") {
			t.Errorf("in the log: %q", scan.Text())
		}
	}
}
