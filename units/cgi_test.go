package units

import (
	"strings"
	"testing"
)

// grumble writes to standard error both ways and ends at once, before journald
// could look up whose process it is.
const grumble = `#!/bin/sh
echo "grumble $QUERY_STRING" >&2
echo "by name $QUERY_STRING" >/dev/stderr || exit 1
printf 'Content-Type: text/plain\r\n\r\n%s %s' "$TZ" "$QUERY_STRING"
`

// Every line of a short CGI program is in the journal of the unit, whose time
// zone it has.
func TestLinesOfShortProgramsAreInTheUnitsJournal(t *testing.T) {
	p := newPool(t, "grumble", "[Worker]\nExecStart=scgi-cgi /srv/scgid-test/grumble.cgi\n")
	p.m.write(t, "/srv/scgid-test/grumble.cgi", grumble)
	p.m.run(t, "chmod", "755", "/srv/scgid-test/grumble.cgi")
	p.dropIn(p.service(), "zone.conf", "[Service]\nEnvironment=TZ=Europe/Zurich\n")
	for range 15 {
		if r, err := send(p.transport(), "GET", "/?short", nil); err != nil || r.code != 200 || r.body != "Europe/Zurich short" {
			t.Fatalf("reply %+v, %v; log:\n%s", r, err, p.m.journal(t, "-u", p.service()))
		}
	}
	p.wait("all lines in the journal", func() bool {
		log := p.m.journal(t, "-u", p.service())
		return strings.Count(log, "stderr: grumble short") == 15 && strings.Count(log, "stderr: by name short") == 15
	})
}

// A binary beneath --root is executed by its descriptor, in the sandbox too.
// env(1) is not a CGI program, so the log shows how its output begins.
func TestBinariesAreExecutedByDescriptorInTheSandbox(t *testing.T) {
	for _, s := range sandboxes {
		t.Run(s.name, func(t *testing.T) {
			p := newPool(t, s.name+"_env", "[Worker]\nExecStart=scgi-cgi --root /usr/bin\n")
			if s.dropIn != "" {
				p.dropIn(p.service(), "strict.conf", string(read(t, s.dropIn)))
			}
			if r, err := send(p.transport(), "GET", "/env", nil); err != nil || r.code != 500 {
				t.Errorf("reply %+v, %v", r, err)
			}
			p.wait("the beginning of its output in the journal", func() bool {
				return strings.Contains(p.m.journal(t, "-u", p.service()), "GATEWAY_INTERFACE=CGI/1.1")
			})
		})
	}
}
