package units

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// That the policy is enforced and the actions are decided by, with a real
// dbus-daemon and polkitd, is tested in package bus, which needs them.

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestBusPolicySaysNothingThatDbusBrokerDoesNotKnow(t *testing.T) {
	// dbus-broker drops a rule with an attribute that it does not know, and
	// denies what the rule would have allowed.
	known := map[string]bool{"own_prefix": true, "send_destination": true, "send_interface": true, "send_member": true, "send_path": true,
		"user": true, "group": true, "context": true}
	d := xml.NewDecoder(bytes.NewReader(read(t, "org.scgid1.conf")))
	rules := 0
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range e.Attr {
			if !known[a.Name.Local] {
				t.Errorf("%s has attribute %s", e.Name.Local, a.Name.Local)
			}
			if strings.HasSuffix(a.Name.Local, "destination") && a.Value != "org.scgid1" || a.Name.Local == "own_prefix" && a.Value != "org.scgid1" {
				t.Errorf("a rule for %s", a.Value)
			}
			rules++
		}
	}
	if rules == 0 {
		t.Error("no rules")
	}
}

func TestDbusDaemonTakesThePolicy(t *testing.T) {
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		lacks(t, "dbus-daemon")
	}
	policy, err := filepath.Abs("org.scgid1.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "bus.conf")
	text := fmt.Sprintf("<busconfig><listen>unix:path=%s/bus</listen><include>%s</include></busconfig>", dir, policy)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(daemon, "--nofork", "--nopidfile", "--print-address", "--config-file="+config)
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, err = bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		t.Errorf("dbus-daemon did not start: %v\n%s", err, said.String())
	}
	for _, line := range strings.Split(said.String(), "\n") {
		// It warns of a group that this machine does not have, and of its own limits.
		if strings.Contains(line, "nknown") && !strings.Contains(line, `"scgid"`) {
			t.Errorf("dbus-daemon says: %s", line)
		}
	}
}

func TestPolkitActionsAskForAnAdministrator(t *testing.T) {
	var config struct {
		Actions []struct {
			ID          string `xml:"id,attr"`
			Description string `xml:"description"`
			Message     string `xml:"message"`
			Defaults    struct {
				Any      string `xml:"allow_any"`
				Inactive string `xml:"allow_inactive"`
				Active   string `xml:"allow_active"`
			} `xml:"defaults"`
			Annotations []struct {
				Key   string `xml:"key,attr"`
				Value string `xml:",chardata"`
			} `xml:"annotate"`
		} `xml:"action"`
	}
	if err := xml.Unmarshal(read(t, "org.scgid1.policy"), &config); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, a := range config.Actions {
		ids = append(ids, a.ID)
		if a.Description == "" || a.Message == "" {
			t.Errorf("%s: no description or message", a.ID)
		}
		for _, who := range []string{a.Defaults.Any, a.Defaults.Inactive, a.Defaults.Active} {
			if !strings.HasPrefix(who, "auth_admin") {
				t.Errorf("%s allows %q without an administrator", a.ID, who)
			}
		}
		// Without this polkit tells the server nothing about its callers.
		if len(a.Annotations) != 1 || a.Annotations[0].Key != "org.freedesktop.policykit.owner" || a.Annotations[0].Value != "unix-user:scgid" {
			t.Errorf("%s: annotations %+v", a.ID, a.Annotations)
		}
	}
	if want := []string{"org.scgid1.manage", "org.scgid1.reload"}; !slices.Equal(ids, want) {
		t.Errorf("actions %v, want %v", ids, want)
	}
}
