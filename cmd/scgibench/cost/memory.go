package cost

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// PSS is the memory of root and its descendants, in bytes, with each page that
// several processes share counted in parts, and how much of it is root's. It
// needs the right to look at the processes.
func PSS(root int) (master, tree int64, err error) {
	pids, err := descendants(root)
	if err != nil {
		return 0, 0, err
	}
	for _, pid := range pids {
		n, err := pss(pid)
		switch {
		case errors.Is(err, os.ErrNotExist): // it has just ended
		case err != nil:
			return 0, 0, err
		case pid == root:
			master = n
		}
		tree += n
	}
	return master, tree, nil
}

func pss(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	_, line, _ := strings.Cut(string(text), "\nPss:")
	var kib int64
	if _, err := fmt.Sscan(line, &kib); err != nil {
		return 0, fmt.Errorf("/proc/%d/smaps_rollup: no Pss", pid)
	}
	return kib << 10, nil
}
