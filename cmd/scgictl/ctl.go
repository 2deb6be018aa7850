package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/master/config"
)

// A ctl is one invocation of scgictl: where it prints, what the flags of all
// commands say, and what it asks the machine.
type ctl struct {
	out, err *screen
	in       *os.File
	asks     bool // the standard input is a terminal, where somebody can answer

	json   bool   // --json
	socket string // --socket

	uid     int    // effective
	root    string // of the runtime directories of system pools
	configs config.Roots
	systemd string // a directory that is there when systemd runs the machine
	nginx   string // the program; empty: there is none

	upgradeLimit time.Duration // for a new program to answer, and to say that the upgrade is over
}

// upgradeLimit is how long scgictl waits for a program that has just begun.
const upgradeLimit = 60 * time.Second

// answerTime is how long a master may take to answer what takes no time.
const answerTime = 30 * time.Second

// newCtl is the command on this machine; tests have machines of their own.
func newCtl() *ctl {
	c := &ctl{
		out: newScreen(os.Stdout), err: newScreen(os.Stderr), in: os.Stdin,
		uid: os.Geteuid(), root: api.SystemRoot, configs: config.DefaultRoots, systemd: "/run/systemd/system", nginx: "nginx",
		upgradeLimit: upgradeLimit,
	}
	c.asks = term.IsTerminal(int(os.Stdin.Fd()))
	return c
}

// sockets finds the control sockets of this machine's and this user's pools.
func (c *ctl) sockets() ([]api.Found, error) { return api.Sockets(c.root, api.UserRoot()) }

// soon bounds a question that a master answers at once.
func soon(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, answerTime)
}

// show prints v as JSON if that is wanted, else what text prints.
func (c *ctl) show(v any, text func(s *screen)) error {
	if !c.json {
		text(c.out)
		return nil
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write JSON: %v", err)
	}
	c.out.WriteString(harmless(string(b)) + "\n")
	return nil
}

// showLine is show for a line of a stream: JSON is in one line, too, and
// nothing waits in a buffer.
func (c *ctl) showLine(v any, text func(s *screen)) error {
	if c.json {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("cannot write JSON: %v", err)
		}
		c.out.WriteString(harmless(string(b)) + "\n")
	} else {
		text(c.out)
	}
	if err := c.out.Flush(); err != nil {
		return fmt.Errorf("cannot write the output: %v", err)
	}
	return nil
}

// some makes an absent list an empty one, for JSON.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// nothing is what changing verbs without a result print as JSON.
type nothing struct{}

// harmless escapes what a terminal could act on in JSON: encoding/json leaves
// DEL, the C1 controls and characters that reorder others as they are. Such
// characters are found only within strings there.
func harmless(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff: // a surrogate pair
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// confirm asks a question; any answer but yes is an error, and so is an interrupt.
func (c *ctl) confirm(ctx context.Context, question string) error {
	c.err.WriteString(c.err.clean(question) + " [y/N] ")
	c.err.Flush()
	answer, err := orEnd(ctx, func() (string, error) { return readLine(c.in) })
	if ctx.Err() != nil {
		c.err.WriteString("\n") // the question has none
		return control.Errorf(control.CodeFailed, "interrupted, nothing was done")
	}
	if err != nil {
		return fmt.Errorf("cannot read the answer: %v", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return control.Errorf(control.CodeFailed, "nothing was done")
}

// readLine reads one line and nothing beyond it. The end of the file ends a
// line, too.
func readLine(f *os.File) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < 256; {
		n, err := f.Read(b)
		if err == io.EOF || n == 1 && b[0] == '\n' {
			break
		}
		if err != nil {
			return "", err
		}
		line = append(line, b[:n]...)
	}
	return string(line), nil
}
