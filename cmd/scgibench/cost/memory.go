package cost

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// PSS is the memory of root and its descendants, in bytes, with each page that
// several of them share counted once, and how much root alone would have. It is
// what PSS would be if nobody else on the machine had mapped the same files: two
// servers that run the same program do not make each other smaller. It needs
// the right to look at the processes.
func PSS(root int) (master, tree int64, err error) {
	pids, err := descendants(root)
	if err != nil {
		return 0, 0, err
	}
	once := map[string]int64{} // KiB of files, by mapping
	for _, pid := range pids {
		own, files, err := memoryOf(pid)
		switch {
		case errors.Is(err, os.ErrNotExist): // it has just ended
			continue
		case err != nil:
			return 0, 0, err
		}
		tree += own
		for key, kib := range files {
			once[key] = max(once[key], kib)
			if pid == root {
				master += kib
			}
		}
		if pid == root {
			master += own
		}
	}
	for _, kib := range once {
		tree += kib
	}
	return master << 10, tree << 10, nil
}

// memoryOf is what a process has of memory without a file, with its part of
// what it shares, and what it has of each mapping of a file, all in KiB.
func memoryOf(pid int) (own int64, files map[string]int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, nil, err
	}
	for _, name := range []string{"Pss_Anon:", "Pss_Shmem:"} {
		_, line, found := strings.Cut(string(text), "\n"+name)
		var kib int64
		if _, err := fmt.Sscan(line, &kib); err != nil || !found {
			return 0, nil, fmt.Errorf("/proc/%d/smaps_rollup: no %s", pid, name)
		}
		own += kib
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	files, err = mappedFiles(bufio.NewScanner(f))
	return own, files, err
}

// mappedFiles reads proc_pid_smaps(5): by mapping of a file, how much of it is
// resident and still the file's. What lives in memory only is not a file.
func mappedFiles(lines *bufio.Scanner) (map[string]int64, error) {
	files := map[string]int64{}
	key := ""
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		var kib int64
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"): // address perms offset dev inode [path]
			key = ""
			if len(f) > 5 && strings.HasPrefix(f[5], "/") && !strings.HasPrefix(f[5], "/memfd:") && !strings.HasPrefix(f[5], "/dev/") {
				key = strings.Join(f[1:], " ")
			}
		case key == "" || len(f) < 2:
		case f[0] == "Rss:":
			fmt.Sscan(f[1], &kib)
			files[key] += kib
		case f[0] == "Anonymous:":
			fmt.Sscan(f[1], &kib)
			files[key] -= kib
		}
	}
	return files, lines.Err()
}
