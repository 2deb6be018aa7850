package control

import (
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestVerbsAreWholeAndNamedOnce(t *testing.T) {
	path, bus := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`), regexp.MustCompile(`^([A-Z][a-z]+)*$`)
	names, methods := map[string]bool{}, map[string]bool{}
	for _, v := range Verbs() {
		if names[v.Name] || !path.MatchString(v.Name) || FindVerb(v.Name) != v {
			t.Errorf("%q is no name of its own", v.Name)
		}
		if !bus.MatchString(v.Bus) || v.Bus != "" && methods[v.Bus] {
			t.Errorf("%s: %q is no D-Bus method of its own", v.Name, v.Bus)
		}
		names[v.Name], methods[v.Bus] = true, true
		if v.Doing == "" || !strings.HasSuffix(v.Help, ".") || v.Call == nil || v.Level == LevelName {
			t.Errorf("%s is not whole", v.Name)
		}
		for i, a := range v.Args {
			if a.Help == "" || v.arg(a.Name) != &v.Args[i] {
				t.Errorf("%s: argument %s is not whole", v.Name, a.Name)
			}
			if v.Reads && a.Required {
				t.Errorf("%s reads without arguments, but requires %s", v.Name, a.Name)
			}
		}
	}
	if FindVerb("no-such-verb") != nil {
		t.Error("there is a verb no-such-verb")
	}
}

func TestParseChecksEachArgument(t *testing.T) {
	for _, tt := range []struct {
		verb, json string
		want       Args
		err        string
	}{
		{"status", `{}`, Args{}, ""},
		{"status", `{"x":1}`, nil, `cannot read the status: there is no argument "x"`},
		{"scale", `{"max_workers":8,"reset":true}`, Args{"max_workers": 8, "reset": true}, ""},
		{"scale", `{"max_workers":4096}`, Args{"max_workers": 4096}, ""},
		{"scale", `{"max_workers":4097}`, nil, "cannot change the limits: max_workers: must be a number from 0 to 4096"},
		{"scale", `{"max_workers":-1}`, nil, "cannot change the limits: max_workers: must be a number from 0 to 4096"},
		{"scale", `{"max_workers":1.5}`, nil, "cannot change the limits: max_workers: must be a number from 0 to 4096"},
		{"scale", `{"max_workers":"8"}`, nil, "cannot change the limits: max_workers: must be a number from 0 to 4096"},
		{"scale", `{"max_workers":1e99}`, nil, "cannot change the limits: max_workers: must be a number from 0 to 4096"},
		{"scale", `{"max_workers":null}`, nil, "cannot change the limits: max_workers: must be left out, not null"},
		{"scale", `{"Max_Workers":8}`, nil, `cannot change the limits: there is no argument "Max_Workers"`},
		{"scale", `{"b":1,"a":1}`, nil, `cannot change the limits: there is no argument "a"`},
		{"scale", `{"reset":1}`, nil, "cannot change the limits: reset: must be true or false"},
		{"pause", `{"limit":1.5}`, Args{"limit": 1500 * time.Millisecond}, ""},
		{"pause", `{"limit":86400}`, Args{"limit": 24 * time.Hour}, ""},
		{"pause", `{"limit":1e-12}`, Args{"limit": time.Nanosecond}, ""}, // 0 is none
		{"pause", `{"limit":86400.1}`, nil, "cannot pause the intake: limit: must be a number of seconds from 0 to 86400"},
		{"pause", `{"limit":"1s"}`, nil, "cannot pause the intake: limit: must be a number of seconds from 0 to 86400"},
		{"kill", `{"worker":18446744073709551615}`, Args{"worker": uint64(1<<64 - 1)}, ""},
		{"kill", `{"worker":0}`, nil, "cannot kill a worker: worker: must be a number from 1"},
		{"kill", `{}`, nil, "cannot kill a worker: argument worker is missing"},
		{"log-level", `{"level":"debug"}`, Args{"level": "debug"}, ""},
		{"log-level", `{"level":"` + strings.Repeat("x", 257) + `"}`, nil, "cannot change the log level: level: must be a text of up to 256 bytes"},
	} {
		var raw map[string]json.RawMessage
		if err := json.Unmarshal([]byte(tt.json), &raw); err != nil {
			t.Fatal(err)
		}
		got, err := FindVerb(tt.verb).Parse(raw)
		var e *Error
		switch {
		case tt.err == "" && (err != nil || !reflect.DeepEqual(got, tt.want)):
			t.Errorf("%s %s: %v, %v, want %v", tt.verb, tt.json, got, err, tt.want)
		case tt.err != "" && (!errors.As(err, &e) || e.Code != CodeInvalid || e.Text != tt.err):
			t.Errorf("%s %s: %v, want %s", tt.verb, tt.json, err, tt.err)
		}
	}
}

// FuzzParse: arguments that Parse lets through have the type and range that
// Call relies on, and what it refuses has CodeInvalid and bounded text.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{}`, `{"worker":1}`, `{"limit":0.1,"now":true}`, `{"max_workers":3,"reset":false}`,
		`{"level":"\ud800"}`, `{"worker":null}`, `{"worker":-0}`, `{"limit":1e-400}`, `{"":{}}`} {
		for i := range Verbs() {
			f.Add(i, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, which int, body []byte) {
		var raw map[string]json.RawMessage
		if json.Unmarshal(body, &raw) != nil {
			return
		}
		v := Verbs()[uint(which)%uint(len(Verbs()))]
		args, err := v.Parse(raw)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Code != CodeInvalid || len(e.Text) > 1024 {
				t.Fatalf("%s %q: %v", v.Name, body, err)
			}
			return
		}
		for _, a := range v.Args {
			value, given := args[a.Name]
			if !given && a.Required || given && !sound(a.Type, value) {
				t.Fatalf("%s %q: %s is %#v", v.Name, body, a.Name, value)
			}
		}
		if len(args) != len(raw) {
			t.Fatalf("%s %q: %v", v.Name, body, args)
		}
	})
}

// sound says whether value is one that arguments of this type may have.
func sound(typ ArgType, value any) bool {
	switch x := value.(type) {
	case int:
		return typ == Count && x >= 0 && x <= WorkersMax
	case uint64:
		return typ == ID && x > 0
	case bool:
		return typ == Flag
	case time.Duration:
		return typ == Seconds && x >= 0 && x <= 24*time.Hour
	case string:
		return typ == Text && len(x) <= 256
	}
	return false
}
