package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// write puts text into dir/name, with the directories it needs.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// parse loads text as the file app.conf of a pool called app.
func parse(text string, set ...string) (*Config, error) {
	l := newLoader("app")
	l.order++
	l.c.Files = append(l.c.Files, "app.conf")
	l.parse("app.conf", text)
	l.settings(set)
	return l.finish()
}

func mustParse(t testing.TB, text string, set ...string) *Config {
	t.Helper()
	c, err := parse(text, set...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// values is c without the places where its values were written.
func values(c *Config) *Config {
	v := *c
	v.origins = nil
	return &v
}

// exec is the one thing that every configuration needs.
const exec = "[Worker]\nExecStart=/bin/w\n"

func wantErr(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != strings.TrimSpace(want) {
		t.Errorf("got error\n\t%s\nwant\n\t%s", got, strings.TrimSpace(want))
	}
}

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}
