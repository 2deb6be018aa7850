package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/scgid/scgid/control"
)

// asFile writes settings as a configuration file.
func asFile(settings []control.Setting) string {
	var b strings.Builder
	section := ""
	for _, s := range settings {
		if s.Section != section {
			section = s.Section
			fmt.Fprintf(&b, "[%s]\n", section)
		}
		if k := findKey(s.Section, s.Key); !k.Secret {
			fmt.Fprintf(&b, "%s=%s\n", s.Key, s.Value)
		}
	}
	return b.String()
}

// checkRoundTrip parses what Effective returns, if it fits into a file.
func checkRoundTrip(t *testing.T, c *Config) {
	t.Helper()
	settings := c.Effective()
	for _, s := range settings {
		if len(s.Key+"=")+len(s.Value) > lineMax { // grown by its quotes and escapes
			return
		}
	}
	text := asFile(settings)
	if len(text) > fileMax || strings.Count(text, "\n") > linesMax {
		return
	}
	again, err := parse(text)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	got, want := values(again), values(c)
	want.Files = got.Files
	got.Worker.Environment = want.Worker.Environment
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v\nfrom\n%s", got, want, text)
	}
}

var effectiveTexts = []string{
	exec,
	exec + "[Pool]\nMaxWorkers=1\n",
	exec + "[Pool]\nMinWorkers=0\nMaxIdle=0\nIdleExitSec=infinity\n",
	exec + "[Pool]\nIdleTimeoutSec=1d 2h 3min 4s 5ms 6us\nListenMode=7\n",
	exec + "[Request]\nMaxHeaderBytes=1025\n",
	exec + "[Pool]\nListen=/a%%b\\\\\nListen=/c\\ \nListen=\"x\"\n",
	exec + "WorkingDirectory=/a  b\\ \nEnvironmentFile=-/c d%%\nEnvironmentFile=/e\\ \n",
	exec + "[Control]\nSocket=off\nBus=off\n",
	exec + "[Control]\nSocket=/run/%%i\\ \nGroup=a%%\\ \n",
	"[Worker]\nExecStart='@x' a 'b c' \"it's\" 'say \"x\"' '' \\; ';x' $$HOME $$$$ $${ $ 100%% %%i \\\\ a\\\\\n",
	"[Worker]\nExecStart=/bin/w \\t\\n\\x1b[31m \\xff\\xfe \\u00a0 \\u202e ä 😀 \\ufffd #x =\n",
	"[Worker]\nExecStart='-' \u00a0\n",
}

func TestEffectiveWrittenAsAFileGivesTheSameConfiguration(t *testing.T) {
	for _, text := range append(effectiveTexts, everyKey) {
		checkRoundTrip(t, mustParse(t, text))
	}
	checkRoundTrip(t, mustParse(t, exec, `Pool.Listen=/a\`, `Worker.WorkingDirectory=/b\\\`,
		`Worker.EnvironmentFile=-/c\`, `Control.Group=d\`, `Control.Socket=/e\`))
	c, err := FromSettings("app", nil, []string{"w", "a\x01\xff\n", "", "%i", "$HOME", ";", `\`, `"'`, "  "})
	if err != nil {
		t.Fatal(err)
	}
	checkRoundTrip(t, c)
}

// lines writes settings as lines of text.
func lines(settings []control.Setting) string {
	var b strings.Builder
	for _, s := range settings {
		fmt.Fprintf(&b, "%s.%s=%s < %s\n", s.Section, s.Key, s.Value, s.Origin)
	}
	return b.String()
}

func TestEffectiveNamesTheOriginOfEachValue(t *testing.T) {
	r, etc, _, lib := roots(t)
	main := write(t, lib, "app.conf", `# vendor
[Pool]
Listen=/run/%i.sock
Listen=127.0.0.1:4000
MaxWorkers=2
ListenMode=600
IdleExitSec=90
[Worker]
ExecStart=/bin/w \
  'a b'
Environment=A=1 B=geheim
Nice=3
[Request]
MaxHeaderBytes=65536
`)
	drop := write(t, etc, "app.conf.d/1.conf", `[Worker]
Environment="B=tiefer geheim" C=3
EnvironmentFile=-/etc/%i.env
Nice=
[Control]
Socket=off
OwnUser=full
`)
	c, err := Load("app", r, []string{"Worker.Environment=A=9", "Pool.Listen=@app", "Queue.TimeoutSec=1500ms", "Queue.Max=7", "Queue.Max="})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer("MAIN", main, "DROP", drop).Replace(`Pool.Listen=/run/app.sock < MAIN:3
Pool.Listen=127.0.0.1:4000 < MAIN:4
Pool.Listen=@app < --set
Pool.ListenMode=0600 < MAIN:6
Pool.MinWorkers=1 < default
Pool.MaxWorkers=2 < MAIN:5
Pool.MinIdle=1 < default
Pool.MaxIdle=2 < default
Pool.MaxBusy=auto < default
Pool.IdleTimeoutSec=1min < default
Pool.IdleExitSec=1min 30s < MAIN:7
Pool.ReloadSurge=1 < default
Pool.ReloadUnavailable=0 < default
Worker.ExecStart=/bin/w "a b" < MAIN:9
Worker.WorkingDirectory= < default
Worker.Environment=A=… < --set
Worker.Environment=B=… < DROP:2
Worker.Environment=C=… < DROP:2
Worker.EnvironmentFile=-/etc/app.env < DROP:3
Worker.Preload=no < default
Worker.StartTimeoutSec=1min < default
Worker.StopTimeoutSec=30s < default
Worker.LimitNOFILE= < default
Worker.Nice=0 < default
Worker.OOMScoreAdjust=100 < default
Worker.MemoryMax=infinity < default
Worker.TasksMax=infinity < default
Request.HeaderTimeoutSec=10s < default
Request.MaxHeaderBytes=64K < MAIN:14
Request.ProbeURI= < default
Request.AccessLog=no < default
Queue.Max=0 < default
Queue.TimeoutSec=1s 500ms < --set
Control.Socket=off < DROP:6
Control.Group= < default
Control.ReadGroup= < default
Control.OwnUser=full < DROP:7
Control.Bus=auto < default
`)
	if got := lines(c.Effective()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAResetForgetsTheOrigins(t *testing.T) {
	c := mustParse(t, exec+"[Pool]\nListen=/a\nListen=/b\nListen=\nListen=/c\n[Worker]\nEnvironment=A=1 B=2\nEnvironment=\nEnvironment=B=3\n", "Worker.ExecStart=x y")
	got := lines(c.Effective())
	for _, want := range []string{"Pool.Listen=/c < app.conf:7\nPool.ListenMode", "Worker.Environment=B=… < app.conf:11\nWorker.EnvironmentFile", "Worker.ExecStart=x y < --set\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "Listen=/a") || strings.Contains(got, "=A=") {
		t.Errorf("got\n%s", got)
	}
}

func TestTheCommandOfRunIsPrintable(t *testing.T) {
	c, err := FromSettings("demo", []string{"Worker.ExecStart=/bin/not"}, []string{"./w", "a b", "\x1b]0;x\a", "\xff", "\u202e", "50%", "$x"})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(c.Effective(), func(s control.Setting) bool { return s.Key == "ExecStart" })
	want := control.Setting{Section: "Worker", Key: "ExecStart", Origin: "command line",
		Value: `./w "a b" \x1b]0;x\x07 \xff \U0000202e 50%% $$x`}
	if got := c.Effective()[i]; got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if v := c.Effective()[i].Value; !utf8.ValidString(v) || strings.ContainsFunc(v, unprintable) {
		t.Errorf("%q is not printable", v)
	}
}

func TestEffectiveHasEveryKeyInTheOrderOfTheTable(t *testing.T) {
	var got, want []string
	for _, s := range mustParse(t, exec).Effective() {
		got = append(got, s.Section+"."+s.Key)
	}
	for _, k := range Keys() {
		want = append(want, k.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestEffectiveKeepsVariablesSecret(t *testing.T) {
	p := write(t, t.TempDir(), "app.conf", exec+"Environment=TOKEN=geheim \"OTHER=a=geheim\" EMPTY=\n")
	c, err := LoadFile(p, []string{"Worker.Environment=SET=geheim"})
	if err != nil {
		t.Fatal(err)
	}
	got := lines(c.Effective())
	if strings.Contains(got, "geheim") || !strings.Contains(got, "OTHER=… < "+filepath.Clean(p)+":3\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestTimeSpansAreWrittenAsSystemdDoes(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0": 0, "1us": time.Microsecond, "1s 500ms": 1500 * millisecond, "1min 30s": 90 * time.Second,
		"1h": hour, "1d 1h": 25 * hour, "30d": 30 * day, "infinity": infinity,
	} {
		if got := spanText(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
