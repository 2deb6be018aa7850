package tree

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Run runs a program of systemd that was told --root, and waits for it. Such
// programs join the directory and a path to one name, so that the kernel takes
// them out of the tree by an absolute link. Therefore paths, which are all that
// the program opens, must mean the same to both, else the program is not run.
// Where the kernel has landlock(7) the program cannot write outside of the tree
// either, whatever becomes of the links while it runs.
func (t *Tree) Run(cmd *exec.Cmd, paths ...string) error {
	if filepath.Clean(t.dir) == "/" {
		return cmd.Run()
	}
	for _, path := range paths {
		if err := t.straight(path); err != nil {
			return err
		}
	}
	done := make(chan error)
	go func() {
		// The rules hold for this thread and what it starts. It is never
		// unlocked, so it ends with the goroutine.
		runtime.LockOSThread()
		err := t.confine()
		if err == nil {
			err = cmd.Run()
		}
		done <- err
	}()
	return <-done
}

// straight returns an error if the kernel finds something else at a path than
// is there in the tree.
func (t *Tree) straight(path string) error {
	names := words(path)
	for i := range names {
		at := filepath.Join(names[:i+1]...)
		var here, there unix.Stat_t
		inside, outside := t.stat(at, true, &here), unix.Stat(t.Name(at), &there)
		switch {
		case inside == unix.ENOENT && outside == unix.ENOENT:
			return nil
		case inside != nil && inside == outside:
			return t.wrap("open", at, inside)
		case inside != nil || outside != nil || here.Dev != there.Dev || here.Ino != there.Ino:
			return t.wrap("open", at, errors.New("it is a link out of the root"))
		}
	}
	return nil
}

// Rights of landlock(7): all that change files, by the version of the interface
// that has them.
var writing = []uint64{
	1: unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM,
	2: unix.LANDLOCK_ACCESS_FS_REFER,
	3: unix.LANDLOCK_ACCESS_FS_TRUNCATE,
}

// confine keeps the calling thread from writing outside of the tree, if the
// kernel can.
func (t *Tree) confine() error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return nil // straight has looked
	}
	var attr unix.LandlockRulesetAttr
	for v, rights := range writing {
		if v <= int(version) {
			attr.Access_fs |= rights
		}
	}
	// Of the structure, versions of the kernel know different lengths; the
	// first field is all we use.
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Access_fs), 0)
	if errno != 0 {
		return os.NewSyscallError("landlock_create_ruleset", errno)
	}
	defer unix.Close(int(rules))
	if err := allow(int(rules), t.top, attr.Access_fs); err != nil {
		return err
	}
	null, err := unix.Open(os.DevNull, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == nil { // what the program prints goes there
		defer unix.Close(null)
		if err := allow(int(rules), null, unix.LANDLOCK_ACCESS_FS_WRITE_FILE); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_NO_NEW_PRIVS)", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0); errno != 0 {
		return os.NewSyscallError("landlock_restrict_self", errno)
	}
	return nil
}

// allow permits rights below an open directory, or on a file.
func allow(rules, fd int, rights uint64) error {
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(rules), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("landlock_add_rule: %w", errno)
	}
	return nil
}
