package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// bundled are the programs that come with scgid. They may stand as the command,
// or behind an interpreter: venv/bin/python scgi-wsgi app:application.
var bundled = []string{"scgi-wsgi", "scgi-cgi"}

// resolve finds the program of a command and makes its path absolute, so that
// a change of directory does not matter.
func resolve(argv, env []string) ([]string, error) {
	argv = slices.Clone(argv)
	for i := range min(2, len(argv)) {
		if slices.Contains(bundled, argv[i]) {
			if path := besideUs(argv[i]); path != "" {
				argv[i] = path
			}
		}
	}
	path, err := find(argv[0], env)
	if err != nil {
		return nil, err
	}
	argv[0] = path
	return argv, nil
}

// besideUs looks where scgid itself is installed: PREFIX/bin or sbin, and
// PREFIX/lib/scgid.
func besideUs(name string) string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	bin := filepath.Dir(self)
	for _, dir := range []string{bin, filepath.Join(bin, "../lib/scgid"), filepath.Join(bin, "../bin")} {
		if path := filepath.Join(dir, name); runnable(path) == nil {
			return path
		}
	}
	return ""
}

// find looks a program up as execvp(3) would with the workers' PATH.
func find(name string, env []string) (string, error) {
	if strings.ContainsRune(name, '/') {
		path, err := filepath.Abs(name)
		if err == nil {
			err = runnable(path)
		}
		return path, err
	}
	path := "/usr/local/bin:/usr/bin:/bin"
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if full := filepath.Join(dir, name); runnable(full) == nil {
			return full, nil
		}
	}
	return "", hinted{fmt.Errorf("%w: %s is not in PATH (%s)", errNoProgram, name, path), "give an absolute path"}
}

// runnable says why path cannot be executed, as far as one can see.
func runnable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %v", errNoProgram, err)
	case info.IsDir():
		return fmt.Errorf("%w: %s is a directory", errNoProgram, path)
	case info.Mode()&0o111 == 0:
		return hinted{fmt.Errorf("%w: %s is not executable", errNoProgram, path), "chmod +x " + path}
	}
	return nil
}
