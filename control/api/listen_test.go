package api

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestListenOpensToAllWhateverTheUmask(t *testing.T) {
	noLeft(t)
	defer unix.Umask(unix.Umask(0o077))
	path := filepath.Join(shortDir(t), "a", "b", SocketName)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if m := mode(t, path); m != os.ModeSocket|0o666 {
		t.Errorf("the socket is %v", m)
	}
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if m := mode(t, dir); m != os.ModeDir|0o755 {
			t.Errorf("%s is %v", dir, m)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("Close left it: %v", err)
	}
}

func TestListenReplacesOnlyWhatNobodyAnswers(t *testing.T) {
	noLeft(t)
	path := filepath.Join(shortDir(t), SocketName)
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another scgid answers there") {
		t.Errorf("one that answers: %v", err)
	}
	left.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatalf("a stale one: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "something is there that is not a socket") {
		t.Errorf("a file: %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file is %q, %v", b, err)
	}
	if _, err := Listen("control.sock"); err == nil {
		t.Error("a relative path is taken")
	}
}

func TestCloseRemovesOnlyItsOwn(t *testing.T) {
	noLeft(t)
	path := filepath.Join(shortDir(t), SocketName)
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	first.Close()
	if m := mode(t, path); m&os.ModeSocket == 0 {
		t.Errorf("the other's socket is %v", m)
	}
}

func TestSocketsFindsPoolsOfSystemAndUser(t *testing.T) {
	noLeft(t)
	root, user := shortDir(t), shortDir(t)
	t.Setenv("XDG_RUNTIME_DIR", user)
	for _, path := range []string{root + "/wiki", root + "/blog", user + "/scgid/demo"} {
		l, err := Listen(filepath.Join(path, SocketName))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	if err := os.Mkdir(root+"/empty", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root+"/link", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root+"/wiki/"+SocketName, root+"/link/"+SocketName); err != nil {
		t.Fatal(err)
	}
	found, err := Sockets(root, UserRoot())
	want := []Found{{"blog", root + "/blog/control.sock", false}, {"wiki", root + "/wiki/control.sock", false},
		{"demo", user + "/scgid/demo/control.sock", true}}
	if err != nil || len(found) != 3 || found[0] != want[0] || found[1] != want[1] || found[2] != want[2] {
		t.Errorf("%+v, %v", found, err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "relative")
	if found, err := Sockets(root+"/none", UserRoot()); err != nil || found != nil {
		t.Errorf("none: %+v, %v", found, err)
	}
}
