package tree

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// checkFDs makes sure that a test leaves no descriptor open.
func checkFDs(t *testing.T) {
	t.Helper()
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := open()
	t.Cleanup(func() {
		if after := open(); after != before {
			t.Errorf("%d descriptors are open, there were %d", after, before)
		}
	})
}

// forest makes a tree and a directory outside of it, each with the file
// etc/name, which says where it is.
func forest(t *testing.T) (tr *Tree, inside, outside string) {
	t.Helper()
	top := t.TempDir()
	inside, outside = filepath.Join(top, "inside"), filepath.Join(top, "outside")
	for _, dir := range []string{inside, outside} {
		must(t, os.MkdirAll(filepath.Join(dir, "etc"), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "etc/name"), []byte(filepath.Base(dir)), 0o644))
	}
	checkFDs(t)
	tr, err := Open(inside)
	must(t, err)
	t.Cleanup(tr.Close)
	return tr, inside, outside
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// snapshot lists all that is in a directory.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		text := ""
		if err == nil && d.Type().IsRegular() {
			b, _ := os.ReadFile(path)
			text = string(b)
		}
		all.WriteString(path + " " + text + "\n")
		return err
	}))
	return all.String()
}

func TestLinksLeadWhereTheTreesOwnProcessesFindThem(t *testing.T) {
	for _, c := range []struct{ what, link, to, path, want string }{
		{"no link", "", "", "/etc/name", "inside"},
		{"the file, relative", "n", "etc/name", "/n", "inside"},
		{"the file, absolute", "n", "/etc/name", "/n", "inside"},
		{"a directory, absolute", "d", "/etc", "/d/name", "inside"},
		{"the top", "etc/top", "/", "/etc/top/etc/name", "inside"},
		{"above the top", "d", "../../../../etc", "/d/name", "inside"},
		{"above the top within the path", "x", "y", "/../../etc/../etc/name", "inside"},
		{"back through a link", "d", "/etc", "/d/../etc/name", "inside"},
		{"the other tree, by its full name", "d", "OUTSIDE/etc", "/d/name", ""},
		{"the other tree, by dots", "d", "../outside/etc", "/d/name", ""},
		{"the file of the other tree", "n", "OUTSIDE/etc/name", "/n", ""},
		{"itself", "n", "n", "/n", ""},
		{"through /proc", "p", "/proc/self/root/etc", "/p/name", ""},
	} {
		tr, inside, outside := forest(t)
		if c.link != "" {
			must(t, os.Symlink(strings.ReplaceAll(c.to, "OUTSIDE", outside), filepath.Join(inside, c.link)))
		}
		text, err := tr.ReadFile(c.path, 100)
		if string(text) != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v, want %q", c.what, text, err, c.want)
		}
		var path *fs.PathError
		if err != nil && (!errors.As(err, &path) || path.Path != inside+c.path) {
			t.Errorf("%s: the error does not name %s: %v", c.what, inside+c.path, err)
		}
	}
}

func TestOnlyRegularFilesAreRead(t *testing.T) {
	tr, inside, _ := forest(t)
	must(t, unix.Mkfifo(inside+"/pipe", 0o600))
	for path, want := range map[string]string{
		"/pipe": "not a regular file", "/etc": "not a regular file", "/etc/name": "larger than 3 bytes", "/none": "no such file",
	} {
		if _, err := tr.ReadFile(path, 3); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// To open a device may do something, and a link may lead to one: whatever is not
// a regular file is looked at only.
func TestWhatIsNotARegularFileIsNotOpened(t *testing.T) {
	tr, inside, _ := forest(t)
	must(t, unix.Mkfifo(inside+"/pipe", 0o600))
	must(t, os.Symlink("/pipe", inside+"/link"))
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	must(t, err)
	defer unix.Close(watch)
	for _, path := range []string{"/pipe", "/etc/name"} {
		_, err = unix.InotifyAddWatch(watch, inside+path, unix.IN_OPEN)
		must(t, err)
	}
	opened := func() bool {
		n, err := unix.Read(watch, make([]byte, 4096))
		if err != nil && err != unix.EAGAIN {
			t.Fatal(err)
		}
		return n > 0
	}
	for _, path := range []string{"/pipe", "/link"} {
		if _, err := tr.ReadFile(path, 100); !errors.Is(err, ErrNotRegular) {
			t.Errorf("read %s: %v", path, err)
		}
		if _, err := tr.OpenItself(path); !errors.Is(err, ErrNotRegular) {
			t.Errorf("open %s: %v", path, err)
		}
		if opened() {
			t.Errorf("%s was opened", path)
		}
	}
	if text, err := tr.ReadFile("/etc/name", 100); string(text) != "inside" || err != nil || !opened() {
		t.Errorf("a file: %q, %v, or its being opened is not seen", text, err)
	}
}

// A file that cannot be opened must not be taken for one that is not there.
func TestWithoutProcNoFileSeemsToBeMissing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs to be root, to hide /proc")
	}
	tr, _, _ := forest(t)
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
		_, err = tr.ReadFile("/etc/name", 100)
		done <- err
	}()
	if err := <-done; err == nil || errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(err.Error(), "/etc/name: /proc is not mounted") {
		t.Errorf("%v", err)
	}
}

// Every name on the way may be a link that somebody made.
func TestNothingIsWrittenOrRemovedOutside(t *testing.T) {
	const path = "/a/b/c/file"
	for _, at := range []string{"a", "a/b", "a/b/c", "a/b/c/file"} {
		for _, form := range []string{"OUTSIDE", "../../../../../../../../OUTSIDE", "../outside", "/"} {
			tr, inside, outside := forest(t)
			must(t, os.MkdirAll(outside+"/b/c", 0o755))
			must(t, os.MkdirAll(outside+"/c", 0o755))
			for _, dir := range []string{"/", "/c/", "/b/c/"} {
				must(t, os.WriteFile(outside+dir+"file", nil, 0o644))
			}
			must(t, os.MkdirAll(filepath.Dir(filepath.Join(inside, at)), 0o755))
			must(t, os.Symlink(strings.ReplaceAll(form, "OUTSIDE", outside), filepath.Join(inside, at)))
			before := snapshot(t, outside)
			d := tr.Draft()
			_ = d.Write(path, "x", 0o644, -1)
			d.Undo()
			d.Close()
			_ = tr.Remove(path)
			_ = tr.RemoveAll("/a/b/c")
			_ = tr.RemoveAll("/a")
			if after := snapshot(t, outside); after != before {
				t.Errorf("%s is a link to %s, and outside there is\n%s, there was\n%s", at, form, after, before)
			}
		}
	}
}

// Somebody exchanges a directory and a link to the outside all the time.
func TestALinkThatComesMeanwhileDoesNotLeadOut(t *testing.T) {
	for _, form := range []string{"OUTSIDE", "../outside", "../../outside"} {
		tr, inside, outside := forest(t)
		for _, dir := range []string{inside + "/lib/app", outside + "/app"} {
			must(t, os.MkdirAll(dir+"/sub", 0o755))
		}
		for _, file := range []string{"/app/file", "/app/sub/file"} {
			must(t, os.WriteFile(outside+file, []byte("keep"), 0o644))
		}
		must(t, os.Symlink(strings.ReplaceAll(form, "OUTSIDE", outside), inside+"/link"))
		before := snapshot(t, outside)
		stop, stopped, times := make(chan struct{}), make(chan struct{}), 0
		go func() {
			defer close(stopped)
			for ; ; times++ {
				select {
				case <-stop:
					return
				default:
					_ = unix.Renameat2(unix.AT_FDCWD, inside+"/lib", unix.AT_FDCWD, inside+"/link", unix.RENAME_EXCHANGE)
				}
			}
		}()
		written := 0
		for range 500 {
			d := tr.Draft()
			if d.Write("/lib/app/new/file", "x", 0o644, -1) == nil {
				written++
			}
			_ = tr.RemoveAll("/lib/app/sub")
			d.Undo()
			d.Close()
		}
		close(stop)
		<-stopped
		if after := snapshot(t, outside); after != before || written == 0 || times < 100 {
			t.Errorf("link to %s: after %d exchanges and %d files, outside there is\n%s, there was\n%s", form, times, written, after, before)
		}
	}
}

func TestRemovingADirectoryLeavesWhatItsLinksLeadTo(t *testing.T) {
	tr, inside, outside := forest(t)
	deep := inside + "/d" + strings.Repeat("/sub", 50)
	must(t, os.MkdirAll(deep, 0o755))
	must(t, os.WriteFile(deep+"/file", nil, 0))
	must(t, os.Symlink(outside, inside+"/d/sub/link"))
	must(t, os.Symlink("/etc", inside+"/d/absolute"))
	must(t, tr.RemoveAll("/d"))
	must(t, tr.RemoveAll("/d")) // as nothing is there
	for path, want := range map[string]bool{inside + "/d": false, inside + "/etc/name": true, outside + "/etc/name": true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestADraftReplacesNothingAndLeavesNothing(t *testing.T) {
	tr, inside, _ := forest(t)
	must(t, os.WriteFile(inside+"/there", []byte("mine"), 0o600))
	must(t, os.Symlink("nowhere", inside+"/dangling"))
	before := snapshot(t, inside)
	defer unix.Umask(unix.Umask(0o077))
	d := tr.Draft()
	defer d.Close()
	must(t, d.Write("/a/b/made", "ours", 0o644, -1))
	for path, want := range map[string]os.FileMode{"/a/b/made": 0o644, "/a/b": 0o755 | os.ModeDir, "/a": 0o755 | os.ModeDir} {
		if info, err := os.Stat(inside + path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if err := d.Write("/there", "ours", 0o644, -1); !errors.Is(err, fs.ErrExist) {
		t.Errorf("writing over a file: %v", err)
	}
	if err := d.Write("/dangling/file", "ours", 0o644, -1); err == nil || !strings.HasSuffix(err.Error(), "/dangling: a directory above it is a link that leads nowhere") {
		t.Errorf("writing through a link to nothing: %v", err)
	}
	if left := d.Undo(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if after := snapshot(t, inside); after != before {
		t.Errorf("there is\n%s, there was\n%s", after, before)
	}
}

func TestProgramsRunOnlyWhereTheyFindTheSameFiles(t *testing.T) {
	for _, c := range []struct{ what, link, to, want string }{
		{"no link", "", "", ""},
		{"a link that stays", "usr", "etc", ""},
		{"a full name", "usr", "OUTSIDE/etc", "/usr: it is a link out of the root"},
		{"dots", "usr", "../outside/etc", "/usr: it is a link out of the root"},
		{"a full name that is there, too", "usr", "/etc", "/usr: it is a link out of the root"},
		{"the last name", "etc/file", "OUTSIDE/etc/name", "/etc/file: it is a link out of the root"},
	} {
		tr, inside, outside := forest(t)
		if c.link != "" {
			must(t, os.Symlink(strings.ReplaceAll(c.to, "OUTSIDE", outside), filepath.Join(inside, c.link)))
		}
		err := tr.Run(exec.Command("true"), "/etc/file", "/usr/name", "/none/none")
		if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.HasSuffix(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}

func TestProgramsWriteNothingOutside(t *testing.T) {
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 {
		t.Skip("needs landlock(7)")
	}
	tr, inside, outside := forest(t)
	before := snapshot(t, outside)
	script := `cd "$1" && : >/dev/null && mkdir d && echo x >d/file && mv d/file etc/ && rm etc/name && rmdir d || exit 99
		cd "$2" && { mkdir d; echo x >file; echo x >etc/name; rm etc/name; rmdir etc; ln -s x y; ln "$1/etc/file" z; mv "$1/etc/file" z; chmod 0 nothing; }
		exit 0`
	cmd := exec.Command("sh", "-c", script, "sh", inside, outside)
	if err := tr.Run(cmd); err != nil {
		t.Fatal(err)
	}
	if after := snapshot(t, outside); after != before {
		t.Errorf("outside there is\n%s, there was\n%s", after, before)
	}
	// Nothing of that holds for us.
	must(t, os.WriteFile(outside+"/file", nil, 0o644))
}
