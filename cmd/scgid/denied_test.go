package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A bus that knows no rules for us, as one that has not read them yet.
func TestABusThatRefusesOurNameGivesAHint(t *testing.T) {
	dir := t.TempDir()
	address := "unix:path=" + filepath.Join(dir, "bus")
	config := filepath.Join(dir, "bus.conf")
	rules := `<busconfig><listen>` + address + `</listen><auth>EXTERNAL</auth><policy context="default"><allow user="*"/>
<deny own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>`
	if err := os.WriteFile(config, []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	startBus(t, "--config-file="+config)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	s, _ := controlled(t, "--set", "Control.Bus=system")
	s.until("it tells why there is no bus", func() bool { return strings.Contains(s.log.String(), "not on the bus") })
	for _, line := range strings.Split(s.log.String(), "\n") {
		if strings.Contains(line, "not on the bus") && !strings.HasSuffix(line, ` hint="systemctl reload dbus"`) {
			t.Errorf("the log has no hint: %s", line)
		}
	}
}
