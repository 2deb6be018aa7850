package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// socketPathMax is the length of the longest path of a Unix socket in bytes:
// sun_path of unix(7) without its terminating NUL.
const socketPathMax = 107

const off = "off"

// socketPath is the path of a socket, or off: these are two fields, so that a
// default path, which depends on the user, need not be known here.
func socketPath(p func(*Config) *Control) kind {
	k := kind{Type: "path", Allowed: fmt.Sprintf("an absolute path of at most %d bytes, or off", socketPathMax)}
	k.set = func(c *Config, v string) error {
		if v == "" || v == off {
			p(c).Socket, p(c).SocketOff = "", v == off
			return nil
		}
		path, err := expand(v, c.Name)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(path) || len(path) > socketPathMax {
			return k.notAllowed()
		}
		p(c).Socket, p(c).SocketOff = path, false
		return nil
	}
	k.text = func(c *Config) []string {
		if p(c).SocketOff {
			return []string{off}
		}
		return plainText(p(c).Socket)
	}
	return k
}

// groupMax is the length of the longest group name in bytes; directories of
// large sites hold longer ones than the 32 of useradd(8).
const groupMax = 255

// group is the name or number of a group. It is not looked up here.
func group(p func(*Config) *string) kind {
	k := kind{Type: "group", Allowed: "the name or the number of a group"}
	k.set = func(c *Config, v string) error {
		if v == "" {
			*p(c) = ""
			return nil
		}
		g, err := expand(v, c.Name)
		if err != nil {
			return err
		}
		if !validGroup(g) {
			return k.notAllowed()
		}
		*p(c) = g
		return nil
	}
	k.text = func(c *Config) []string { return plainText(*p(c)) }
	return k
}

// validGroup is as lenient as systemd is with names from a directory service,
// which may hold blanks. The greatest number is not a group: it means none,
// as in chown(2).
func validGroup(g string) bool {
	if digits(g, 0) == len(g) {
		n, err := strconv.ParseUint(g, 10, 32)
		return err == nil && n < 1<<32-1
	}
	return len(g) <= groupMax && g[0] != '-' && !strings.ContainsAny(g, ":/,\t")
}

// oneOf is a value that is one of a few words.
func oneOf(p func(*Config) *string, words ...string) kind {
	last := len(words) - 1
	k := kind{Type: "word", Allowed: strings.Join(words[:last], ", ") + " or " + words[last]}
	k.set = func(c *Config, v string) error {
		if v != "" && !slices.Contains(words, v) {
			return k.notAllowed()
		}
		*p(c) = v
		return nil
	}
	k.text = func(c *Config) []string { return []string{*p(c)} }
	return k
}

// either is a boolean that is not written as yes or no, but as these two words.
func either(p func(*Config) *bool, no, yes string) kind {
	k := kind{Type: "word", Allowed: no + " or " + yes}
	k.set = func(c *Config, v string) error {
		if v != "" && v != no && v != yes {
			return k.notAllowed()
		}
		*p(c) = v == yes
		return nil
	}
	k.text = func(c *Config) []string {
		if *p(c) {
			return []string{yes}
		}
		return []string{no}
	}
	return k
}
