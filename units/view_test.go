package units

import (
	"bufio"
	"encoding/json"
	"strings"
	"testing"
)

func TestSystemctlStatusShowsHowThePoolIs(t *testing.T) {
	p := newPool(t, "seen", "[Pool]\nMaxWorkers=3\n"+wsgi)
	p.ask("/?seen")
	p.wait("the status line", func() bool {
		return strings.Contains(p.m.run(t, "systemctl", "status", "--no-pager", "-n0", p.service()), `Status: "0/3 busy, 0 waiting, 1 served"`)
	})
}

// An entry is one of journalctl -o json, as far as we look.
type entry struct {
	Priority   string `json:"PRIORITY"`
	Identifier string `json:"SYSLOG_IDENTIFIER"`
	Message    string `json:"MESSAGE"`
	Comm       string `json:"_COMM"`
}

func TestJournalHasTheLogWithPriorities(t *testing.T) {
	p := newPool(t, "told", wsgi)
	p.ask("/log?x")
	priorities := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(p.m.journal(t, "-u", p.service(), "-o", "json")))
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(e.Message, "<") {
			t.Errorf("a line with a raw priority: %+v", e)
		}
		first, _, _ := strings.Cut(e.Message, "=")
		priorities[first] = e.Priority
	}
	for line, want := range map[string]string{
		"serving on":                                          "6", // the master's
		"a warning of the application":                        "4",
		"a plain line of the application":                     "6",
		"Started scgid@told.service - SCGI application told.": "6",
	} {
		if priorities[line] != want {
			t.Errorf("%q has priority %q, want %s; there are %v", line, priorities[line], want, priorities)
		}
	}
}

func TestServiceLogLevelReachesThePool(t *testing.T) {
	for _, test := range []struct{ name, bus, dropIn string }{
		{"plain", "org.scgid1.app.plain", ""},
		{"other", "org.scgid1.app.other", "[Service]\nUser=scgid-other\nGroup=scgid-other\n"},
		{"my-app", "org.scgid1.app.my_2dapp", "[Service]\nBusName=org.scgid1.app.my_2dapp\n"},
		{"1st", "org.scgid1.app._31st", "[Service]\nBusName=org.scgid1.app._31st\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPool(t, test.name, wsgi)
			if test.dropIn != "" {
				// Also without the drop-in it starts and serves all the same.
				p.ask("/?without")
				p.dropIn(p.service(), "bus.conf", test.dropIn)
				p.m.run(t, "systemctl", "restart", p.service())
			}
			p.ask("/?x")
			p.wait(test.bus+" on the bus", func() bool {
				_, err := p.m.try("busctl", "status", test.bus)
				return err == nil
			})
			for _, level := range []string{"debug", "warning", "info"} {
				p.m.run(t, "systemctl", "service-log-level", p.service(), level)
				if got := strings.TrimSpace(p.m.run(t, "systemctl", "service-log-level", p.service())); got != level {
					t.Errorf("log level %q, want %s", got, level)
				}
				if got := p.m.run(t, "scgictl", "log-level", p.name); !strings.Contains(got, level) {
					t.Errorf("scgictl says %q, want %s", got, level)
				}
			}
		})
	}
}
