package units

import (
	"strings"
	"testing"
)

// After systemctl enable --now no master runs until the first request: that is a
// pool, all the same. One that systemd cannot start is told with its result.
func TestAPoolThatWaitsIsListedWithItsSocket(t *testing.T) {
	p := newPool(t, "waits", "[Pool]\nMinWorkers=0\n"+cgi)
	line := func() string {
		for l := range strings.Lines(p.m.run(t, "scgictl", "list")) {
			if strings.HasPrefix(l, p.name+" ") {
				return strings.Join(strings.Fields(l), " ")
			}
		}
		return ""
	}
	if got := line(); !strings.HasPrefix(got, "waits listening ") || !strings.HasSuffix(got, " /run/scgid/waits.sock") {
		t.Errorf("before the first request: %q", got)
	}
	if got := p.m.run(t, "scgictl", "status", p.name); !strings.HasPrefix(got, "waits: listening, not started yet") || !strings.Contains(got, "/run/scgid/waits.sock") {
		t.Errorf("status: %s", got)
	}
	p.ask("/")
	if got := line(); !strings.HasPrefix(got, "waits running ") || !strings.HasSuffix(got, " /run/scgid/waits.sock") {
		t.Errorf("after it: %q", got)
	}

	p.m.run(t, "systemctl", "stop", p.service())
	p.configure("[Pool]\nMinWorkers=many\n" + cgi)
	_, _ = p.m.try("systemctl", "start", p.service())
	p.waitShow(p.service(), "NRestarts", func(n string) bool { return n != "0" })
	p.wait("the failure is told", func() bool {
		out, err := p.m.try("scgictl", "status", p.name)
		return err != nil && strings.Contains(out, "waits is not running: scgid@waits.service is ") && strings.Contains(out, "exit-code, status 2")
	})
}
