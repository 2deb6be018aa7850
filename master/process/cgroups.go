package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Groups is a control group that was delegated to us, in which workers get
// groups of their own. The zero Groups stands for none: it makes no groups, but
// reopens existing ones.
//
// The kernel takes its time with control groups, up to hundreds of
// milliseconds, and all operations wait for each other. So everything except the
// methods of Group is for goroutines other than the loop.
type Groups struct {
	// Memory and Tasks say that groups in it can be limited in these, and are
	// accounted.
	Memory, Tasks bool
	// Refused are the reasons why a controller that is there cannot be used.
	Refused []error

	top   string
	works sync.WaitGroup // what Kill and Remove have begun
}

const (
	subgroup = "master"  // where we are ourselves
	prefix   = "worker-" // of those of workers
)

// Delegated returns the control group that the service manager has delegated
// to this process, and moves the process to a sub-group of it, "master", unless
// it is in one already. Whatever was not delegated it leaves alone. The error
// says why there is none; it is ErrNoManager where none could be expected.
//
// ask is called where the group itself is not marked: it returns the path of the
// group that the manager has delegated to our service, "" for none.
func Delegated(ask func() string) (*Groups, error) {
	top, sub, err := find(ask)
	if err != nil {
		return nil, err
	}
	g := &Groups{top: top}
	if sub == "" {
		if err := g.moveDown(); err != nil {
			return nil, err
		}
	}
	g.enable()
	return g, nil
}

// Usable says that it is a delegated group, in which groups can be made.
func (g *Groups) Usable() bool { return g.top != "" }

// moveDown moves the process into the sub-group: a group with processes cannot
// hand its controllers on.
func (g *Groups) moveDown() error {
	dir := filepath.Join(g.top, subgroup)
	err := os.Mkdir(dir, 0o755)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make a control group: %w", err)
	}
	if err := put(dir, "cgroup.procs", "0"); err != nil {
		unix.Rmdir(dir)
		return fmt.Errorf("cannot enter the control group %s: %w", dir, err)
	}
	return nil
}

// enable hands on the controllers that are there.
func (g *Groups) enable() {
	for _, c := range []struct {
		name string
		has  *bool
	}{{"memory", &g.Memory}, {"pids", &g.Tasks}} {
		if !g.lists("cgroup.controllers", c.name) {
			continue
		}
		if !g.lists("cgroup.subtree_control", c.name) {
			if err := put(g.top, "cgroup.subtree_control", "+"+c.name); err != nil {
				g.Refused = append(g.Refused, fmt.Errorf("cannot use the controller %s for workers: %w", c.name, err))
				continue
			}
		}
		*c.has = true
	}
}

// lists says whether a file of the top group holds the word.
func (g *Groups) lists(file, word string) bool {
	text, err := os.ReadFile(filepath.Join(g.top, file))
	if err != nil {
		return false
	}
	for _, w := range strings.Fields(string(text)) {
		if w == word {
			return true
		}
	}
	return false
}

// RemoveStale removes the empty groups of workers that an earlier master has
// left. Those with a path in keep are left alone: in these, after
// an upgrade, a worker may be about to enter.
func (g *Groups) RemoveStale(keep ...string) {
	if g.top == "" {
		return
	}
	old, _ := filepath.Glob(filepath.Join(glob(g.top), prefix+"*"))
	for _, dir := range old {
		if !contains(keep, dir) {
			removeTree(dir, depthMax)
		}
	}
}

// glob quotes a path for filepath.Glob.
var glob = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

// Settle waits until what Kill and Remove have begun is done, at most so long.
// With a nil Groups nothing has.
func (g *Groups) Settle(limit time.Duration) {
	if g == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		g.works.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

// namesMax bounds the names that are tried for a group.
const namesMax = 100

// make makes a group of this name, or with a number behind it if the name
// belongs to a worker that a dead master has left and that still runs.
func (g *Groups) make(name string) (string, error) {
	for n := 1; ; n++ {
		dir := filepath.Join(g.top, name)
		if n > 1 {
			dir += "-" + strconv.Itoa(n)
		}
		err := os.Mkdir(dir, 0o755)
		if errors.Is(err, fs.ErrExist) {
			removeTree(dir, depthMax) // if it is empty
			err = os.Mkdir(dir, 0o755)
		}
		switch {
		case err == nil:
			return dir, nil
		case !errors.Is(err, fs.ErrExist) || n == namesMax:
			return "", fmt.Errorf("cannot make a control group: %w", err)
		}
	}
}

// depthMax bounds how deep a worker's own groups below its group are removed.
const depthMax = 16

// removeTree removes a group and those that the worker has made below it; what
// is not empty stays.
func removeTree(dir string, depth int) error {
	err := unix.Rmdir(dir)
	if err == nil || err == unix.ENOENT || depth == 0 {
		return nil
	}
	entries, _ := os.ReadDir(dir)
	below := false
	for _, e := range entries {
		if e.IsDir() {
			below = true
			removeTree(filepath.Join(dir, e.Name()), depth-1)
		}
	}
	if below {
		err = unix.Rmdir(dir)
	}
	return err
}

// put writes to a file of a control group, which has to be there.
func put(dir, file, text string) error {
	fd, err := unix.Open(filepath.Join(dir, file), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open "+file, err)
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return os.NewSyscallError("write "+file, err)
}
