package config

import (
	"strings"

	"github.com/scgid/scgid/control"
)

// What Setting.Origin says besides FILE:LINE.
const (
	originDefault = "default"
	originSet     = "--set"
	originCommand = "command line"
)

// Effective returns the configuration as it is in effect: each key in the
// order of the table, a list as one Setting for each entry, and what is not set
// as one with an empty Value. Values are written as in a file. Of a variable
// in Environment= only the name is shown, because the value may be a secret.
//
// The origin of a default that gave way to other values is "default" still.
// What the master changed since is not seen here.
func (c *Config) Effective() []control.Setting {
	var all []control.Setting
	for i := range keys {
		all = append(all, c.effective(&keys[i])...)
	}
	return all
}

func (c *Config) effective(k *Key) []control.Setting {
	values := k.text(c)
	if len(values) == 0 {
		values = []string{""}
	}
	origins := c.origins[k.String()]
	settings := make([]control.Setting, len(values))
	for i, v := range values {
		settings[i] = control.Setting{Section: k.Section, Key: k.Name, Value: v, Origin: originDefault}
		if i < len(origins) {
			settings[i].Origin = origins[i]
		}
	}
	return settings
}

// lineText writes a value that has no quotes but may have specifiers.
func lineText(s string) string {
	s = strings.ReplaceAll(s, "%", "%%")
	if continued(s) {
		s += " " // else the next line would be taken for a part of this one
	}
	return s
}

// plainText is lineText for a key that may be empty.
func plainText(s string) []string {
	if s == "" {
		return nil
	}
	return []string{lineText(s)}
}
