// Package floor builds the yardsticks that scgid is measured against: a small
// C dispatcher with forked workers, the same worker as a program that speaks
// the worker link, so that scgid with it can be set beside the dispatcher in
// one run, and the least that starting a CGI program costs.
//
// It owns the C sources and nothing else: the caller starts, measures and
// stops the programs. They are not servers; see their comments.
package floor

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed dispatcher.c worker.c spawn.c floor.h
var sources embed.FS

// ErrNoCompiler is returned by Build where gcc is not installed.
var ErrNoCompiler = errors.New("needs gcc")

// Programs are the absolute paths of the built programs.
type Programs struct {
	Dispatcher string // dispatcher ADDR WORKERS [PROGRAM ARG...]; prints "ready" when it listens
	Worker     string // the command of a pool; reads SCGID_WORKER_FD
	Spawn      string // spawn MILLISECONDS PROGRAM [ARG...]; prints runs and microseconds
}

// Build compiles the programs with gcc -O2 into dir, which must exist.
func Build(dir string) (Programs, error) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		return Programs{}, ErrNoCompiler
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return Programs{}, err
	}
	if err := unpack(dir); err != nil {
		return Programs{}, err
	}
	p := Programs{filepath.Join(dir, "dispatcher"), filepath.Join(dir, "worker"), filepath.Join(dir, "spawn")}
	for _, out := range []string{p.Dispatcher, p.Worker, p.Spawn} {
		if err := compile(gcc, out); err != nil {
			return Programs{}, err
		}
	}
	return p, nil
}

func unpack(dir string) error {
	for _, name := range []string{"dispatcher.c", "worker.c", "spawn.c", "floor.h"} {
		text, err := sources.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func compile(gcc, out string) error {
	cmd := exec.Command(gcc, "-O2", "-Wall", "-Wextra", "-o", out, out+".c")
	text, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot build %s: %v: %s", filepath.Base(out), err, bytes.TrimSpace(text))
	}
	return nil
}
