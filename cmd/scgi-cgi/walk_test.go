package main

import (
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tangle makes a directory full of links, to what is there, to what is not, up,
// out, round in circles, and absolute ones.
func tangle(t *testing.T) *root {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "root")
	for _, name := range []string{"a/b/c/prog", "a/prog", "prog", "d/prog"} {
		install(t, dir, name, "#!/bin/sh\n")
	}
	install(t, top, "outside/prog", "#!/bin/sh\n")
	for link, to := range map[string]string{
		"up": "a/b/../..", "a/up": "..", "a/out": "../../outside", "out": "../outside/prog", "a/b/abs": dir + "/prog", "root": "/",
		"a/l": "b/c/prog", "l": "a/l", "ll": "./l/", "loop": "loop", "a/ping": "../pong", "pong": "a/ping", "dir": "a/b/", "gone": "nothing",
		"a/b/deep": "../../a/b/../b/./c", "same": ".", "d/back": "../d/../d/prog", "proc": "/proc/self/fd",
	} {
		must(t, os.Symlink(to, filepath.Join(dir, link)))
	}
	r, err := openRoot(dir, "")
	must(t, err)
	t.Cleanup(func() { unix.Close(r.fd) })
	return r
}

// inode is what a descriptor is of, or the error for which there is none.
func inode(t *testing.T, fd int, err error) any {
	t.Helper()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	must(t, unix.Fstat(fd, &st))
	return [2]uint64{st.Dev, st.Ino}
}

// A walk finds what openat2 finds, and what that refuses it refuses.
func TestAWalkAgreesWithTheKernel(t *testing.T) {
	r := tangle(t)
	if _, err := unix.Openat2(r.fd, ".", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH}); err != nil {
		t.Fatal("needs openat2 (Linux 5.6): ", err)
	}
	before := descriptors(t, os.Getpid())
	names := strings.Fields("a b c d prog up out abs root l ll loop ping pong dir gone deep same back proc nothing . .. ...")
	names = append(names, "")
	random := rand.New(rand.NewSource(1))
	found := 0
	for range 20000 {
		parts := make([]string, 1+random.Intn(5))
		for i := range parts {
			parts[i] = names[random.Intn(len(names))]
		}
		path := strings.TrimLeft(strings.Join(parts, "/"), "/")
		fd, err := r.openBeneath(path)
		want := inode(t, fd, err)
		if path == "" {
			path = "."
		}
		fd, err = walkBeneath(r.fd, path)
		if got := inode(t, fd, err); got != want {
			t.Fatalf("%q: the walk finds %v, the kernel %v", path, got, want)
		}
		if err == nil {
			found++
		}
	}
	t.Logf("%d of 20000 paths led to something", found)
	if r.walks.Load() || found < 1000 {
		t.Error("it was not the kernel that was asked, or nothing was found")
	}
	if after := descriptors(t, os.Getpid()); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
