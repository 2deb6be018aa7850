package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
)

// fileMax bounds one file, in bytes.
const fileMax = 1 << 20

// dropInsMax bounds the drop-ins of one pool.
const dropInsMax = 256

// Roots are the directories in which configuration is looked for; an earlier
// one comes before a later one.
//
// The main file is NAME.conf from the first root that has one. Drop-ins are
// NAME.conf.d/*.conf from all roots, read after the main file in the order of
// their file names, whatever their root; of the same file name only the one in
// the first root counts. An empty file or a link to /dev/null masks: as a
// drop-in those of the same name, as main file the pool.
type Roots []string

// DefaultRoots are the administrator's, the run-time and the vendor's files.
var DefaultRoots = Roots{"/etc/scgid", "/run/scgid.d", "/usr/lib/scgid"}

// find returns the files of pool name, in the order in which to read them.
func (r Roots) find(name string) ([]string, error) {
	path, err := r.main(name + ".conf")
	if err != nil {
		return nil, err
	}
	files := []string{path}
	names, dropIns, err := r.dropIns(name + ".conf.d")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if d := dropIns[n]; d != "" {
			files = append(files, d)
		}
	}
	return files, nil
}

func (r Roots) main(base string) (string, error) {
	for _, dir := range r {
		path := filepath.Join(dir, base)
		masked, err := masks(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if masked {
			return "", fmt.Errorf("pool is masked: %s is empty or a link to /dev/null", path)
		}
		return path, nil
	}
	return "", &notFound{base, r}
}

// notFound is fs.ErrNotExist for a pool that no root knows.
type notFound struct {
	base  string
	roots Roots
}

func (e *notFound) Error() string {
	return fmt.Sprintf("no configuration: there is no %s in %s", e.base, strings.Join(e.roots, ", "))
}

func (e *notFound) Is(target error) bool { return target == fs.ErrNotExist }

// dropIns returns the sorted names of all drop-ins, and for each its path, or
// "" when it is masked.
func (r Roots) dropIns(base string) ([]string, map[string]string, error) {
	paths := map[string]string{}
	var names []string
	for _, root := range r {
		dir := filepath.Join(root, base)
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("cannot list drop-ins: %w", err)
		}
		for _, e := range entries {
			n := e.Name()
			if _, seen := paths[n]; seen || !strings.HasSuffix(n, ".conf") || n[0] == '.' {
				continue
			}
			path := filepath.Join(dir, n)
			masked, err := masks(path)
			if err != nil {
				return nil, nil, err
			}
			if masked {
				path = ""
			}
			paths[n] = path
			names = append(names, n)
		}
	}
	if len(names) > dropInsMax {
		return nil, nil, fmt.Errorf("%d drop-ins in %s, at most %d are allowed", len(names), base, dropInsMax)
	}
	sort.Strings(names)
	return names, paths, nil
}

// masks says whether path is empty or leads to /dev/null. A link that leads
// nowhere is an error other than ErrNotExist: it is a mistake, not an absence.
func masks(path string) (bool, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, lerr := os.Lstat(path); lerr == nil {
			return false, fmt.Errorf("%s is a link to a file that does not exist", path)
		}
	}
	if err != nil {
		return false, err
	}
	if st.Mode()&os.ModeCharDevice != 0 {
		return isNull(st), nil
	}
	return st.Mode().IsRegular() && st.Size() == 0, nil
}

// isNull knows /dev/null by its numbers, null(4).
func isNull(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && sys.Rdev == 1<<8|3
}

// readBounded returns the contents of a regular file of at most limit bytes.
func readBounded(path string, limit int64) (string, error) {
	// O_NONBLOCK: to open a fifo would otherwise wait forever for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", err
	}
	if int64(len(data)) > limit {
		return "", fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return string(data), nil
}
