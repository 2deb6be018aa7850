package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Group is the control group of one worker. Killing it also ends processes
// that have left the worker's process group, as a daemon does. The nil Group
// stands for none: it is empty, and its methods do nothing.
//
// Its methods never wait. It owns its descriptors, which are close-on-exec,
// until Remove.
type Group struct {
	Path string // all that Reopen needs

	memoryMax uint64 // bytes; 0 means no limit of its own
	home      *Groups
	killing   sync.WaitGroup
	kill      int // cgroup.kill
	events    int // cgroup.events
	memory    int // memory.events; -1 without the controller
}

// openGroup opens the group at dir.
func (g *Groups) openGroup(dir string) (*Group, error) {
	w := &Group{Path: dir, home: g, kill: -1, events: -1, memory: -1}
	var err error
	if w.kill, err = unix.Open(filepath.Join(dir, "cgroup.kill"), unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, os.NewSyscallError("open cgroup.kill", err)
	}
	if w.events, err = unix.Open(filepath.Join(dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		w.close()
		return nil, os.NewSyscallError("open cgroup.events", err)
	}
	if fd, err := unix.Open(filepath.Join(dir, "memory.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		w.memory = fd
	}
	return w, nil
}

// Reopen opens the group of a worker that continues after the master executed
// itself again, by its Path.
func (g *Groups) Reopen(path string) (*Group, error) {
	w, err := g.openGroup(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the control group %s: %w", path, err)
	}
	if text, err := os.ReadFile(filepath.Join(path, "memory.max")); err == nil {
		w.memoryMax, _ = strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64) // "max" is none
	}
	return w, nil
}

// groupFor makes the group of a worker with the limits of c. entry is its
// cgroup.procs, which the caller closes.
func (g *Groups) groupFor(c Command) (w *Group, entry int, err error) {
	dir, err := g.make(c.GroupName)
	if err != nil {
		return nil, -1, err
	}
	if err = g.limit(dir, c); err == nil {
		w, err = g.openGroup(dir)
	}
	if err == nil {
		if entry, err = unix.Open(filepath.Join(dir, "cgroup.procs"), unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
			w.memoryMax = c.MemoryMax
			return w, entry, nil
		}
		w.close()
		err = os.NewSyscallError("open cgroup.procs", err)
	}
	unix.Rmdir(dir)
	return nil, -1, fmt.Errorf("cannot set up a control group: %w", err)
}

// limit sets the limits of a new group, as far as there are controllers.
func (g *Groups) limit(dir string, c Command) error {
	if g.Memory {
		// A worker whose children were killed is of no more use than a dead
		// worker.
		if err := put(dir, "memory.oom.group", "1"); err != nil {
			return err
		}
		if c.MemoryMax > 0 {
			if err := put(dir, "memory.max", strconv.FormatUint(c.MemoryMax, 10)); err != nil {
				return err
			}
		}
	}
	if g.Tasks && c.TasksMax > 0 {
		return put(dir, "pids.max", strconv.FormatUint(c.TasksMax, 10))
	}
	return nil
}

// Empty says whether no living process is in the group or below it.
func (w *Group) Empty() bool {
	if w == nil {
		return true
	}
	var buf [256]byte
	n, err := unix.Pread(w.events, buf[:], 0)
	if err != nil {
		return err == unix.ENODEV // the group has been removed
	}
	return count(buf[:n], "populated") == 0
}

// Kill begins to send SIGKILL to every process of the group, those that are
// being forked included.
//
// (Measured: the kernel's lock for this is held while any process enters any
// group, so that the write took up to 437 ms; reading cgroup.events needs no
// lock.)
func (w *Group) Kill() {
	if w.Empty() {
		return
	}
	w.home.works.Add(1)
	w.killing.Add(1)
	go func() {
		defer w.home.works.Done()
		defer w.killing.Done()
		slowly(w.killNow)
	}()
}

func (w *Group) killNow() { unix.Write(w.kill, []byte("1")) }

// OutOfMemory says whether the kernel has killed a process in the group because
// memory ran out, and with a limit greater than 0 that it was the group's own
// that was reached, in bytes.
func (w *Group) OutOfMemory() (killed bool, limit uint64) {
	if w == nil || w.memory < 0 {
		return false, 0
	}
	var buf [512]byte
	n, err := unix.Pread(w.memory, buf[:], 0)
	if err != nil || count(buf[:n], "oom_kill") == 0 {
		return false, 0
	}
	if count(buf[:n], "oom") == 0 {
		return true, 0 // of the service, or of the machine
	}
	return true, w.memoryMax
}

// count reads a number from a file of "key number" lines; 0 if it is not there.
func count(text []byte, key string) uint64 {
	for line := range bytes.Lines(text) {
		k, v, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		if string(k) == key {
			n, _ := strconv.ParseUint(string(v), 10, 64)
			return n
		}
	}
	return 0
}

// Remove begins to end the processes that are left in the group, and to remove
// it. The Group must not be used any more.
func (w *Group) Remove() {
	if w == nil {
		return
	}
	w.home.works.Add(1)
	go func() {
		defer w.home.works.Done()
		w.killing.Wait()
		w.remove()
	}()
}

// removeLimit is how long killed processes may take to be gone.
const removeLimit = 10 * time.Second

func (w *Group) remove() {
	defer w.close()
	pause := time.Millisecond
	for end := time.Now().Add(removeLimit); ; {
		var err error
		slowly(func() {
			if !w.Empty() {
				w.killNow()
			}
			// EBUSY for a moment also after the last process has gone.
			err = removeTree(w.Path, depthMax)
		})
		if err == nil || time.Now().After(end) {
			return
		}
		time.Sleep(pause)
		pause = min(2*pause, 100*time.Millisecond)
	}
}

// slots bounds the threads that wait for the kernel's lock.
var slots = make(chan struct{}, 8)

func slowly(f func()) {
	slots <- struct{}{}
	defer func() { <-slots }()
	f()
}

func (w *Group) close() {
	for _, fd := range [...]int{w.kill, w.events, w.memory} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
