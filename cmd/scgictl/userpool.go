package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/master/config"
)

// ownConfig is the configuration of a pool of systemctl --user, as this user's
// units have it; empty if the user has no home.
func ownConfig(name string) string {
	home, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return (&setup{name: name, home: home}).conf()
}

// load reads a pool's configuration: the system's, else this user's own.
func (c *ctl) load(name string) (conf *config.Config, own bool, err error) {
	conf, err = config.Load(name, c.configs, nil)
	if errors.Is(err, fs.ErrNotExist) {
		if mine, mineErr := loadOwn(name); !errors.Is(mineErr, fs.ErrNotExist) {
			return mine, true, mineErr
		}
	}
	return conf, false, err
}

// loadOwn reads the configuration of this user's own pool.
func loadOwn(name string) (*config.Config, error) {
	path := ownConfig(name)
	if path == "" {
		return nil, fs.ErrNotExist
	}
	return config.LoadFile(path, nil)
}

// ownSocket is where the socket unit of this user's pool listens.
func ownSocket(name string) string {
	root := api.UserRoot()
	if root == "" {
		return ""
	}
	return filepath.Join(root, name+".sock")
}

// userOnly says that a socket is in $XDG_RUNTIME_DIR of a user, which nobody else
// may search.
func (d *doctor) userOnly(to endpoint) bool {
	return strings.HasPrefix(to.address, "/run/user/") ||
		d.own && api.UserRoot() != "" && strings.HasPrefix(to.address, filepath.Dir(api.UserRoot())+"/")
}
