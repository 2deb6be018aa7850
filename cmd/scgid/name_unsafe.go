package main

import (
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/master"
)

// keepName gives the process its name back when it was executed by the number of
// a descriptor, and would be called so by ps(1). It has to be called in the first
// thread.
func keepName() {
	if os.Getenv(master.EnvFailure) == "" {
		return
	}
	name := append([]byte(filepath.Base(os.Args[0])), 0)
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
}
