package api

import (
	"os"
	"path/filepath"
)

// SystemRoot is the directory of the runtime directories of system pools.
const SystemRoot = "/run/scgid"

// UserRoot is the same for the pools of a user, by $XDG_RUNTIME_DIR; it is
// empty where that is not set, or is not absolute.
func UserRoot() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Join(dir, "scgid")
}

// A Found is a control socket that was found. A master may listen on it, or
// may have left it behind.
type Found struct {
	Name   string // of the pool
	Socket string // path
	User   bool   // it is a user's own, not the system's
}

// Sockets returns the control sockets of the pools below these directories,
// SystemRoot and UserRoot or what stands for them, each by name, the system's
// first. A directory that does not exist, or is empty, has none.
func Sockets(systemRoot, userRoot string) ([]Found, error) {
	system, err := socketsIn(systemRoot, false)
	if err != nil {
		return nil, err
	}
	user, err := socketsIn(userRoot, true)
	return append(system, user...), err
}

func socketsIn(root string, user bool) ([]Found, error) {
	if root == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(root) // sorted
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []Found
	for _, e := range entries {
		path := filepath.Join(root, e.Name(), SocketName)
		// The directory belongs to the pool's user: what is not a
		// socket itself is not followed.
		if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			found = append(found, Found{Name: e.Name(), Socket: path, User: user})
		}
	}
	return found, nil
}
