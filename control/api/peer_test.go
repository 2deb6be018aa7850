package api

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// Whose socket it is must not depend on how it is called: an application that
// may write there decides what a path leads to, and who types it does not know.
func TestASocketBelongsToItsPoolByWhateverPath(t *testing.T) {
	noLeft(t)
	root := shortDir(t)
	wiki, blog := filepath.Join(root, "wiki", SocketName), filepath.Join(root, "blog", SocketName)
	listen := func(path string) {
		t.Helper()
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		t.Cleanup(func() { l.Close() })
	}
	elsewhere := shortDir(t)
	for _, dir := range []string{filepath.Dir(wiki), filepath.Dir(blog)} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{wiki, blog, filepath.Dir(wiki) + "/other.sock", elsewhere + "/s"} {
		listen(path)
	}
	for link, to := range map[string]string{elsewhere + "/link": root, elsewhere + "/dir": filepath.Dir(wiki)} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	for name, of := range map[string]string{elsewhere + "/hard": wiki, filepath.Dir(blog) + "/wiki.sock": wiki} {
		if err := os.Link(of, name); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(filepath.Dir(wiki), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	t.Chdir(filepath.Dir(wiki))
	for _, tt := range []struct{ name, path, want string }{
		{"as it is", wiki, "wiki"},
		{"through the root of a process", "/proc/self/root" + wiki, "wiki"},
		{"a link to the directory of all", elsewhere + "/link/wiki/control.sock", "wiki"},
		{"a link to its directory", elsewhere + "/dir/control.sock", "wiki"},
		{"a descriptor of its directory", fmt.Sprintf("/proc/self/fd/%d/control.sock", fd), "wiki"},
		{"the directory of a process", "/proc/self/cwd/control.sock", "wiki"},
		{"a relative path", "control.sock", "wiki"},
		{"a relative path with dots", "./../wiki/control.sock", "wiki"},
		{"slashes and dots", root + "//blog/.././wiki//control.sock", "wiki"},
		{"up from behind a link", elsewhere + "/dir/../blog/control.sock", "blog"},
		{"a second name of it", elsewhere + "/hard", "wiki"},
		{"another socket in its directory", filepath.Dir(wiki) + "/other.sock", "wiki"},
		{"a second name in another pool's directory", filepath.Dir(blog) + "/wiki.sock", "blog"},
		{"elsewhere", elsewhere + "/s", ""},
	} {
		peer, err := NewClient(tt.path).Peer(soon(t))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got, err := peer.Pool(root); got != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
		if peer.PID != os.Getpid() || peer.Dir.Owner != uint32(os.Getuid()) {
			t.Errorf("%s: %+v", tt.name, peer)
		}
	}
	peer, err := NewClient(wiki).Peer(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := peer.Pool(root + "/none"); got != "" || err != nil {
		t.Errorf("no pools: %q, %v", got, err)
	}
	if got, err := peer.Pool(wiki); err == nil {
		t.Errorf("a root that cannot be read: %q", got)
	}
}

// A pool that cannot be reached must not be taken for one that does not run.
func TestWithoutProcNoPoolSeemsToBeStopped(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs to be root, to hide /proc")
	}
	s := serve(t, me(), nil)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
		}
		if err == nil {
			err = unix.Mount("none", "/proc", "tmpfs", 0, "")
		}
		if err != nil {
			t.Errorf("cannot hide /proc: %v", err)
		}
		_, err = NewClient(s.socket).Peer(t.Context())
		done <- err
	}()
	err := <-done
	if e, ok := err.(*control.Error); !ok || e.Code != control.CodeFailed || !strings.HasSuffix(e.Text, ": /proc is not mounted") {
		t.Errorf("%v", err)
	}
}

func TestTheUnitIsTheFirstServiceOfTheControlGroup(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/system-scgid.slice/scgid@wiki.service\n":                              "wiki",
		"0::/system.slice/system-scgid.slice/scgid@my-app.service/master\n":                     "my-app",
		"0::/system.slice/scgid@wiki.service/worker-3/scgid@other.service\n":                    "wiki",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/scgid@mine.service\n":       "",
		"0::/system.slice/cron.service/scgid@wiki.service\n":                                    "",
		"1:name=systemd:/system.slice/scgid@old.service\n0::/system.slice/scgid@wiki.service\n": "wiki",
		"0::/\n": "",
		"":       "",
	} {
		if got := unitPool(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := (Peer{PID: -1}).UnitPool(); got != "" {
		t.Errorf("a process that is not there: %q", got)
	}
}
