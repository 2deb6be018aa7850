package config

import (
	"reflect"
	"strings"
	"testing"
)

func environ(t *testing.T, text string) (string, []string, error) {
	t.Helper()
	p := write(t, t.TempDir(), "x.env", text)
	c := &Config{Worker: Worker{Environment: []string{"A=config", "B=config"}, EnvironmentFile: []EnvFile{{Path: p}}}}
	env, err := c.Environ()
	if c.Worker.Environment[0] != "A=config" {
		t.Error("Environ changed the Config")
	}
	return p, env, err
}

func TestEnvironmentFilesAreSystemds(t *testing.T) {
	_, env, err := environ(t, "\ufeff# comment \\\n;x\n  A = one two  \r\nC='single \\n \"x\"'\nD=\"double \\\" \\$ \\x\n next\\\n line\"  \nE=a\\ \nF=a\\\n  b\n"+
		"G=\nH='a' \"b\" c \nI=it's\nJ=a#b\nA=\"last\"")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"A=last", "B=config", `C=single \n "x"`, "D=double \" $ \\x\n next line", "E=a ", "F=a  b", "G=", "H=abc", "I=it's", "J=a#b"}
	if !reflect.DeepEqual(env, want) {
		t.Errorf("got  %q\nwant %q", env, want)
	}
}

func TestEnvironmentFileErrorsHideValues(t *testing.T) {
	for text, want := range map[string]string{
		"A=1\n  secret\nB=2\nonly": "F:2:3: line is not KEY=VALUE\nF:4:1: line is not KEY=VALUE",
		"A=1\n2secret=1\n":         "F:2:1: what is before = is not a variable name (letters, digits and _, not starting with a digit)",
		"export A=1\n":             "F:1:1: what is before = is not a variable name (letters, digits and _, not starting with a digit)",
		"=1\n":                     "F:1:1: what is before = is not a variable name (letters, digits and _, not starting with a digit)",
		"A=1\nB= \"secret\n\n":     "F:2:4: quote \" is not closed",
		"A=\"x\n\n\"'y":            "F:3:2: quote ' is not closed",
		"A=sec\x00ret\n":           "F:1:1: value holds the control character U+0000",
		"A=sec\xffret\n":           "F:1:1: value is not valid UTF-8",
		"\nSCGID_POOL=x\n":         "F:2:1: SCGID_POOL is set by scgid itself",
	} {
		p, env, err := environ(t, text)
		wantErr(t, err, strings.ReplaceAll(want, "F:", p+":"))
		if env != nil {
			t.Errorf("%q: got %q with the error", text, env)
		}
	}
}

func TestEnvironmentFilesMayBeOptional(t *testing.T) {
	d := t.TempDir()
	second := write(t, d, "b", "A=2\n")
	c := &Config{Worker: Worker{EnvironmentFile: []EnvFile{{d + "/none", true}, {second, true}}}}
	env, err := c.Environ()
	if err != nil || !reflect.DeepEqual(env, []string{"A=2"}) {
		t.Errorf("got %q, %v", env, err)
	}
	write(t, d, "b", "A=3\n")
	if env, _ := c.Environ(); !reflect.DeepEqual(env, []string{"A=3"}) {
		t.Errorf("got %q: the file was not read again", env)
	}
	c.Worker.EnvironmentFile[0].Optional = false
	_, err = c.Environ()
	wantErr(t, err, "cannot read environment file: open "+d+"/none: no such file or directory")
	c.Worker.EnvironmentFile[0].Path = write(t, d, "big", strings.Repeat("#\n", fileMax))
	_, err = c.Environ()
	wantErr(t, err, "cannot read environment file: "+d+"/big is larger than 1048576 bytes")
}

func FuzzEnvFile(f *testing.F) {
	f.Add("A=1\n#\nB='x\ny' \"z\\\"\"\nC=\\\n")
	f.Fuzz(func(t *testing.T, text string) {
		p := envParser{s: text, file: "f", line: 1}
		var env []string
		p.all(&env)
		for _, kv := range env {
			if checkVariable(kv) != nil || strings.IndexByte(kv, 0) >= 0 {
				t.Fatalf("accepted %q", kv)
			}
		}
		for _, e := range p.errs {
			if e.Line < 1 || e.Col < 1 || e.Line > strings.Count(text, "\n")+1 {
				t.Fatalf("%v", e)
			}
		}
	})
}
