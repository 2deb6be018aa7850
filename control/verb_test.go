package control

import (
	"bytes"
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
		if v.Doing == "" || !strings.HasSuffix(v.Help, ".") || v.call == nil || v.Level == LevelName {
			t.Errorf("%s is not whole", v.Name)
		}
		args := map[string]bool{}
		for _, a := range v.Args {
			if a.Help == "" || a.Name == "" || args[a.Name] {
				t.Errorf("%s: argument %s is not whole", v.Name, a.Name)
			}
			args[a.Name] = true
			if v.Reads && a.Required {
				t.Errorf("%s reads without arguments, but requires %s", v.Name, a.Name)
			}
		}
	}
	if FindVerb("no-such-verb") != nil {
		t.Error("there is a verb no-such-verb")
	}
}

func some[T any](x T) *T { return &x }

func TestParseChecksEachArgument(t *testing.T) {
	for _, tt := range []struct {
		verb, json string
		want       any
		err        string
	}{
		{"status", `{}`, NoArgs{}, ""},
		{"status", ``, NoArgs{}, ""},
		{"status", `{"x":1}`, nil, `cannot read the status: there is no argument "x"`},
		{"scale", `{"max_workers":8,"reset":true}`, Change{MaxWorkers: some(8), Reset: true}, ""},
		{"scale", `{"max_workers":4096}`, Change{MaxWorkers: some(4096)}, ""},
		{"scale", `{"max_workers":0}`, Change{MaxWorkers: some(0)}, ""},
		{"scale", `{"max_workers":4097}`, nil, "cannot change the limits: max_workers: must be a number from 0 to 4096"},
		{"scale", `{"max_workers":-1}`, nil, "cannot change the limits: max_workers: must be a number from 0 to 4096"},
		{"scale", `{"max_workers":1.5}`, nil, "cannot change the limits: max_workers: must be a number from 0 to 4096"},
		{"scale", `{"max_workers":"8"}`, nil, "cannot change the limits: max_workers: must be a number from 0 to 4096"},
		{"scale", `{"max_workers":1e99}`, nil, "cannot change the limits: max_workers: must be a number from 0 to 4096"},
		{"scale", `{"max_workers":null}`, nil, "cannot change the limits: max_workers: must be left out, not null"},
		{"scale", `{"Max_Workers":8}`, nil, `cannot change the limits: there is no argument "Max_Workers"`},
		{"scale", `{"b":1,"a":1}`, nil, `cannot change the limits: there is no argument "a"`},
		{"scale", `{"reset":1}`, nil, "cannot change the limits: reset: must be true or false"},
		{"pause", `{"limit":1.5}`, PauseArgs{Seconds(1500 * time.Millisecond)}, ""},
		{"pause", `{"limit":86400}`, PauseArgs{Seconds(24 * time.Hour)}, ""},
		{"pause", `{"limit":1e-12}`, PauseArgs{Seconds(time.Nanosecond)}, ""}, // 0 is none
		{"pause", `{"limit":86400.1}`, nil, "cannot pause the intake: limit: must be a number of seconds from 0 to 86400"},
		{"pause", `{"limit":1e300}`, nil, "cannot pause the intake: limit: must be a number of seconds from 0 to 86400"},
		{"pause", `{"limit":"1s"}`, nil, "cannot pause the intake: limit: must be a number of seconds from 0 to 86400"},
		{"kill", `{"worker":18446744073709551615}`, WorkerArgs{1<<64 - 1}, ""},
		{"kill", `{"worker":0}`, nil, "cannot kill a worker: worker: must be a number from 1"},
		{"kill", `{}`, nil, "cannot kill a worker: argument worker is missing"},
		{"log-level", `{"level":"debug"}`, LevelArgs{some("debug")}, ""},
		{"log-level", `{"level":""}`, LevelArgs{some("")}, ""},
		{"log-level", `{"level":"` + strings.Repeat("x", 257) + `"}`, nil, "cannot change the log level: level: must be a text of up to 256 bytes"},
	} {
		got, err := FindVerb(tt.verb).Parse([]byte(tt.json))
		var e *Error
		switch {
		case tt.err == "" && (err != nil || !reflect.DeepEqual(got, tt.want)):
			t.Errorf("%s %s: %v, %v, want %v", tt.verb, tt.json, got, err, tt.want)
		case tt.err != "" && (!errors.As(err, &e) || e.Code != CodeInvalid || e.Text != tt.err):
			t.Errorf("%s %s: %v, want %s", tt.verb, tt.json, err, tt.err)
		}
	}
}

// What a client sends is what the server reads.
func TestArgumentsSurviveJSON(t *testing.T) {
	for name, want := range map[string]any{
		"scale": Change{MinWorkers: some(0), MaxIdle: some(7)}, "pause": PauseArgs{Seconds(1500 * time.Millisecond)},
		"stop": StopArgs{Now: true, Limit: Seconds(time.Nanosecond)}, "kill": WorkerArgs{7}, "log-level": LevelArgs{some("debug")},
		"resume": NoArgs{}, "reload": NoArgs{},
	} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := FindVerb(name).Parse(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s became %+v, %v", name, text, got, err)
		}
	}
}

// FuzzParse: arguments that Parse lets through pass Check, and what it refuses
// has CodeInvalid and bounded text.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{}`, `{"worker":1}`, `{"limit":0.1,"now":true}`, `{"max_workers":3,"reset":false}`,
		`{"level":"\ud800"}`, `{"worker":null}`, `{"worker":-0}`, `{"limit":1e-400}`, `{"":{}}`, `{"a":1}{`, `{"a":1,"a":1}`} {
		for i := range Verbs() {
			f.Add(i, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, which int, body []byte) {
		v := Verbs()[uint(which)%uint(len(Verbs()))]
		args, err := v.Parse(body)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Code != CodeInvalid || len(e.Text) > 1024 {
				t.Fatalf("%s %q: %v", v.Name, body, err)
			}
			return
		}
		if reflect.TypeOf(args) != v.args || v.Check(args) != nil || len(v.describe(args)) > 2048 {
			t.Fatalf("%s %q: %#v", v.Name, body, args)
		}
	})
}

// FuzzParseObject: what is taken is one JSON object without a name that comes
// twice, read as encoding/json reads it.
func FuzzParseObject(f *testing.F) {
	for _, s := range []string{"", " ", "{}", `{"a":1}`, `{"a":1,"\u0061":2}`, `{"a":{"a":[]}} `, "{}x", "[{}]", `{"a" 1}`, `{"a":1,}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parseObject(body)
		var want map[string]json.RawMessage
		wrong := json.Unmarshal(body, &want)
		switch {
		case err != nil && len(err.Error()) > 1024:
			t.Fatalf("%q: %v", body, err)
		case err == nil && len(bytes.TrimSpace(body)) > 0 && (wrong != nil || !reflect.DeepEqual(got, want)):
			t.Fatalf("%q: %v, want %v, %v", body, got, want, wrong)
		case err != nil && wrong == nil && want != nil && !strings.Contains(err.Error(), "comes twice"):
			t.Fatalf("%q: %v", body, err)
		}
	})
}
