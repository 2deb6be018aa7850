package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the option list into the manual page")

const (
	manPage  = "../../packaging/man/scgid.conf.5"
	manBegin = ".\\\" BEGIN KEYS: rendered from master/config/keys.go by go test -run Manual -update\n"
	manEnd   = ".\\\" END KEYS\n"
)

func TestTheManualPageIsTheTableOfKeys(t *testing.T) {
	b, err := os.ReadFile(manPage)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(b), manBegin)
	body, tail, ok2 := strings.Cut(rest, manEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q and %q", manPage, manBegin, manEnd)
	}
	if body == Manual() {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the table of keys: run go test -run Manual -update", manPage)
	}
	if err := os.WriteFile(manPage, []byte(head+manBegin+Manual()+manEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheExampleInTheManualPageIsValid(t *testing.T) {
	b, err := os.ReadFile(manPage)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ".Sh EXAMPLES\n")
	_, rest, _ = strings.Cut(rest, ".Bd -literal -offset indent\n")
	text, _, ok := strings.Cut(rest, ".Ed\n")
	if !ok {
		t.Fatal("no example")
	}
	c := mustParse(t, strings.NewReplacer(`\e`, `\`, `\-`, "-").Replace(text))
	if len(c.Worker.ExecStart) < 2 || c.Worker.WorkingDirectory == "" {
		t.Errorf("got %+v", c)
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	for _, k := range Keys() {
		if k.Type == "" || k.Allowed == "" || !strings.HasSuffix(k.Help, ".") {
			t.Errorf("%s: %q, %q, %q", k.String(), k.Type, k.Allowed, k.Help)
		}
	}
}
