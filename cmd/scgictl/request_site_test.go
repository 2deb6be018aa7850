package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// scgictl request by somebody else, such as the web server, at a real pool that
// is set up right, and in the wrong ways that doctor finds. (A full backlog is
// in TestRequestSaysWhyThereIsNoConnection.)
func TestRequestSaysWhatIsWrongWithASetUp(t *testing.T) {
	needsRoot(t) // to become another user
	s := newSite(t, "good", "ListenMode=0666", serving)
	broken := newSite(t, "no module named wiki", "ListenMode=0666\n[Queue]\nTimeoutSec=500ms", failing)
	t.Setenv(envUID, strconv.Itoa(nobody))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		what   string
		do     func()
		listen string
		flags  []string
		status int
		says   string // of both outputs
	}{
		{"right", func() {}, s.listen, nil, exitDone, "answer to /page"},
		{"a wrong mode", func() { must(os.Chmod(s.listen, 0o600)) }, s.listen, nil, exitDenied, "cannot connect to " + s.listen + ": permission denied"},
		{"a missing group", func() { must(os.Chown(s.listen, 0, 2)); must(os.Chmod(s.listen, 0o660)) }, s.listen, nil, exitDenied, "hint: scgictl doctor"},
		{"a missing file", func() { must(os.Remove(s.listen)) }, s.listen, nil, exitNotRunning, "cannot connect to " + s.listen + ": no such file"},
		{"an application that does not start", func() {}, broken.listen, []string{"-i"}, exitDone, "Status: 503 Service Unavailable\n"},
		{"the same with --fail", func() {}, broken.listen, []string{"--fail"}, exitFailed, "the reply's status is 503"},
	} {
		tt.do()
		out, errs, status := ctlRun(t, append([]string{"request", tt.listen, "/page", "--timeout", "20s"}, tt.flags...)...)
		if status != tt.status || !strings.Contains(out+errs, tt.says) {
			t.Errorf("%s: exit status %d, want %d and %q:\n%s%s", tt.what, status, tt.status, tt.says, out, errs)
		}
	}
}
