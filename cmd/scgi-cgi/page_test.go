package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scgid/scgid/worker/link"
	"golang.org/x/sys/unix"
)

// A program that has been started and has written nothing is no reply yet: were the
// worker to die now, the master would answer.
func TestAReplyBeginsWithWhatTheProgramWrites(t *testing.T) {
	fd, err := unix.MemfdCreate("page", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	must(t, err)
	file := os.NewFile(uintptr(fd), "page")
	defer file.Close()
	_, err = file.Write(link.PageContent())
	must(t, err)
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	must(t, err)
	page, err := link.MapPage(fd)
	must(t, err)
	defer page.Close()

	dir := t.TempDir()
	here, fifo, last := filepath.Join(dir, "here"), filepath.Join(dir, "fifo"), filepath.Join(dir, "last")
	must(t, unix.Mkfifo(here, 0o600))
	must(t, unix.Mkfifo(fifo, 0o600))
	must(t, unix.Mkfifo(last, 0o600)) // of its own: who opens a pipe before its last writer has closed it reads its end
	script := "echo here >" + here + "; read x <" + fifo + "; printf 'Content-Type: text/plain\\n\\n'; echo hello; read x <" + last
	m := launchChanged(t, func(cmd *exec.Cmd) {
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
		cmd.Env = append(cmd.Env, link.EnvPage+"=4")
	}, "/bin/sh", "-c", script).awaitReady()
	m.slot = 9
	progress := func() link.Progress {
		is, err := page.Read(9, 1)
		must(t, err)
		is.Ended = 0
		return is
	}
	c, done := m.connect()
	_, err = c.Write(requestHeader(t, 0))
	must(t, err)
	if text, err := os.ReadFile(here); err != nil || string(text) != "here\n" {
		t.Fatal(string(text), err)
	}
	if is := progress(); is != (link.Progress{}) {
		t.Errorf("while the program has written nothing: %+v", is)
	}
	must(t, os.WriteFile(fifo, []byte("go\n"), 0))
	got := ""
	for buf := make([]byte, 1000); !strings.Contains(got, "hello"); {
		n, err := c.Read(buf)
		must(t, err)
		got += string(buf[:n])
	}
	if is := progress(); is != (link.Progress{Begun: true}) {
		t.Errorf("after the program has written: %+v", is)
	}
	must(t, os.WriteFile(last, []byte("go\n"), 0))
	io.Copy(io.Discard, c)
	if is := progress(); is != (link.Progress{Begun: true, Finished: true, Code: 200, Bytes: 6}) {
		t.Errorf("at the end: %+v", is)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(done) > 0 {
		t.Errorf("told %+v, and nobody had asked", <-done)
	}
}
