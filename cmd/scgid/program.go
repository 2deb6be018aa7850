package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// bundled are the programs that come with scgid. They may stand as the command,
// or behind another program: venv/bin/python scgi-wsgi app:application.
var bundled = []string{"scgi-wsgi", "scgi-cgi"}

// Programs that execute or read the program that is named behind their own options
// and the values of these: python3 -u scgi-wsgi, nice -n 5 scgi-wsgi.
var (
	wrappers     = []string{"chrt", "env", "ionice", "nice", "numactl", "prlimit", "setarch", "setpriv", "stdbuf", "strace", "taskset", "time"}
	interpreters = regexp.MustCompile(`^(python|pypy)[0-9.]*$`)
)

// resolve finds the program of a command and makes its path absolute, so that
// a change of directory does not matter.
func resolve(argv, env []string) ([]string, error) {
	argv = slices.Clone(argv)
	if i := bundledAt(argv); i >= 0 {
		if path := besideUs(argv[i]); path != "" {
			argv[i] = path
		}
	}
	path, err := find(argv[0], env)
	if err != nil {
		return nil, err
	}
	argv[0] = path
	return argv, nil
}

// bundledAt is the first word of a command that means a bundled program; -1 if none
// does. Behind a program that is not known to take another, only the next word
// may.
func bundledAt(argv []string) int {
	most := min(2, len(argv))
	if first := filepath.Base(argv[0]); slices.Contains(wrappers, first) || interpreters.MatchString(first) {
		most = len(argv)
	}
	return slices.IndexFunc(argv[:most], func(word string) bool { return slices.Contains(bundled, word) })
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
