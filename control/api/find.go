package api

import (
	"os"
	"path/filepath"
)

// SystemRoot is the directory of the runtime directories of system pools.
// Tests set it.
var SystemRoot = "/run/scgid"

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

// Sockets returns the control sockets of this machine's and this user's pools,
// each by name, the system's first. A root that does not exist has none.
func Sockets() ([]Found, error) {
	system, err := socketsIn(SystemRoot, false)
	if err != nil {
		return nil, err
	}
	user, err := socketsIn(UserRoot(), true)
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
		// The directory belongs to the pool's user: what is no socket itself
		// is not followed.
		if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			found = append(found, Found{Name: e.Name(), Socket: path, User: user})
		}
	}
	return found, nil
}
