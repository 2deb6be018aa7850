package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

func TestDefaultsAreThoseOfTheTable(t *testing.T) {
	got := mustParse(t, exec)
	want := &Config{Name: "app", Files: []string{"app.conf"}}
	want.Pool = Pool{ListenMode: 0o660, Limits: control.Limits{MinWorkers: 1, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4},
		IdleTimeout: time.Minute, ReloadSurge: 1}
	want.Worker = Worker{ExecStart: []string{"/bin/w"}, Preload: "no", StartTimeout: time.Minute, StopTimeout: 30 * time.Second,
		OOMScoreAdjust: 100}
	want.Request = Request{HeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	want.Queue = Queue{Timeout: 30 * time.Second}
	want.Control = Control{Bus: "auto"}
	if !reflect.DeepEqual(values(got), want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// everyKey sets each key to something else than its default.
const everyKey = `
[Pool]
Listen=/run/%i.sock
Listen=127.0.0.1:4000
ListenMode=0600
MinWorkers=2
MaxWorkers=16
MinIdle=3
MaxIdle=5
MaxBusy=6
IdleTimeoutSec=2min
IdleExitSec=1h
ReloadSurge=3
ReloadUnavailable=2
[Worker]
ExecStart=scgi-wsgi --name=%n 'a b' app:application
WorkingDirectory=/srv/%n/current
Environment=A=1 "B=two words"
Environment=A=2 POOL=%i
EnvironmentFile=/etc/scgid/%i.env
EnvironmentFile=-/etc/scgid/local.env
Preload=application
StartTimeoutSec=5
StopTimeoutSec=1min 30s
LimitNOFILE=65536
Nice=-5
OOMScoreAdjust=200
MemoryMax=512M
TasksMax=64
[Request]
HeaderTimeoutSec=500ms
MaxHeaderBytes=16K
ProbeURI=/health?deep=1
AccessLog=yes
[Queue]
Max=100
TimeoutSec=1.5
[Control]
Socket=/run/ctl/%i
Group=web admins
ReadGroup=4
OwnUser=full
Bus=session
`

func TestEveryKeyIsStored(t *testing.T) {
	got := mustParse(t, everyKey)
	want := &Config{Name: "app", Files: []string{"app.conf"},
		Pool: Pool{Listen: []string{"/run/app.sock", "127.0.0.1:4000"}, ListenMode: 0o600,
			Limits:      control.Limits{MinWorkers: 2, MaxWorkers: 16, MinIdle: 3, MaxIdle: 5, MaxBusy: 6},
			IdleTimeout: 2 * time.Minute, IdleExit: time.Hour, ReloadSurge: 3, ReloadUnavailable: 2},
		Worker: Worker{ExecStart: []string{"scgi-wsgi", "--name=app", "a b", "app:application"},
			WorkingDirectory: "/srv/app/current", Environment: []string{"A=2", "B=two words", "POOL=app"},
			EnvironmentFile: []EnvFile{{"/etc/scgid/app.env", false}, {"/etc/scgid/local.env", true}},
			Preload:         "application",
			StartTimeout:    5 * time.Second, StopTimeout: 90 * time.Second,
			LimitNOFILE: 65536, Nice: -5, OOMScoreAdjust: 200, MemoryMax: 512 << 20, TasksMax: 64},
		Request: Request{HeaderTimeout: 500 * time.Millisecond, MaxHeaderBytes: 16 << 10, ProbeURI: "/health?deep=1", AccessLog: true},
		Queue:   Queue{Max: 100, Timeout: 1500 * time.Millisecond},
		Control: Control{Socket: "/run/ctl/app", Group: "web admins", ReadGroup: "4", OwnFull: true, Bus: "session"},
	}
	if !reflect.DeepEqual(values(got), want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, k := range Keys() {
		if _, ok := loaded(t, got, k); !ok {
			t.Errorf("%s still has its default: this test must set it", k.String())
		}
	}
}

// loaded says whether c differs from the defaults in k: setting k to its
// default changes c.
func loaded(t *testing.T, c *Config, k Key) (*Config, bool) {
	t.Helper()
	d := *c
	if err := k.set(&d, ""); err != nil {
		t.Fatal(err)
	}
	if err := k.set(&d, k.Default); err != nil {
		t.Fatal(err)
	}
	return &d, !reflect.DeepEqual(&d, c)
}

func TestDefaultLimitsGiveWay(t *testing.T) {
	for _, tt := range []struct {
		pool string
		want control.Limits
	}{
		{"", control.Limits{MinWorkers: 1, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}},
		{"MaxWorkers=1", control.Limits{MinWorkers: 1, MaxWorkers: 1, MinIdle: 1, MaxIdle: 1}},
		{"MaxWorkers=3", control.Limits{MinWorkers: 1, MaxWorkers: 3, MinIdle: 1, MaxIdle: 3}},
		{"MaxIdle=0", control.Limits{MinWorkers: 1, MaxWorkers: 8, MinIdle: 0, MaxIdle: 0}},
		{"MinIdle=6", control.Limits{MinWorkers: 1, MaxWorkers: 8, MinIdle: 6, MaxIdle: 6}},
		{"MinWorkers=0", control.Limits{MinWorkers: 0, MaxWorkers: 8, MinIdle: 0, MaxIdle: 4}},
		{"MinWorkers=0\nMinIdle=1", control.Limits{MinWorkers: 0, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}},
		{"MinWorkers=8", control.Limits{MinWorkers: 8, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}},
		{"MaxIdle=0\nMaxIdle=", control.Limits{MinWorkers: 1, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}},
	} {
		c := mustParse(t, exec+"[Pool]\n"+tt.pool+"\n")
		if c.Pool.Limits != tt.want {
			t.Errorf("%q: got %+v, want %+v", tt.pool, c.Pool.Limits, tt.want)
		}
	}
}

func TestAnEmptyAssignmentResets(t *testing.T) {
	c := mustParse(t, `[Pool]
Listen=/a
Listen=
Listen=/b
MaxWorkers=99
MaxWorkers=
[Worker]
ExecStart=/bin/old
ExecStart=
ExecStart=/bin/new
Environment=A=1
Environment=
EnvironmentFile=/x
EnvironmentFile=
WorkingDirectory=/x
WorkingDirectory=
LimitNOFILE=100
LimitNOFILE=
[Pool]
IdleExitSec=5
IdleExitSec=
`)
	w := mustParse(t, "[Worker]\nExecStart=/bin/new\n[Pool]\nListen=/b\n")
	if !reflect.DeepEqual(values(c), values(w)) {
		t.Errorf("got  %+v\nwant %+v", c, w)
	}
}

func TestIdleExitCanBeOff(t *testing.T) {
	for _, v := range []string{"0", "infinity", "0s", ""} {
		c := mustParse(t, exec+"[Pool]\nIdleExitSec=1s\nIdleExitSec="+v+"\n")
		if c.Pool.IdleExit != 0 {
			t.Errorf("IdleExitSec=%s gives %v, want 0", v, c.Pool.IdleExit)
		}
	}
}

func TestTheControlSocketIsAPathOrOff(t *testing.T) {
	longest := "/" + strings.Repeat("s", 106)
	for text, want := range map[string]Control{
		"":                                    {},
		"Socket=off":                          {SocketOff: true},
		"Socket=off\nSocket=/x":               {Socket: "/x"},
		"Socket=/x\nSocket=off":               {SocketOff: true},
		"Socket=off\nSocket=":                 {},
		"Socket=" + longest:                   {Socket: longest},
		"Group=%i-admins\nReadGroup=0":        {Group: "app-admins", ReadGroup: "0"},
		"Group=4294967294\nReadGroup=CORP\\x": {Group: "4294967294", ReadGroup: `CORP\x`},
		"OwnUser=full\nOwnUser=\nBus=off":     {Bus: "off"},
		"OwnUser=full\nOwnUser=read\nGroup=":  {},
	} {
		if want.Bus == "" {
			want.Bus = "auto"
		}
		if got := mustParse(t, exec+"[Control]\n"+text+"\n").Control; got != want {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
}

func TestBooleansAreSystemds(t *testing.T) {
	var c Config
	var b bool
	k := boolean(func(*Config) *bool { return &b })
	for v, want := range map[string]bool{"yes": true, "TRUE": true, "on": true, "1": true, "no": false, "off": false, "0": false, "": false} {
		b = !want
		if err := k.set(&c, v); err != nil || b != want {
			t.Errorf("%q: %v, %v", v, b, err)
		}
	}
	wantErr(t, k.set(&c, "maybe"), "must be a boolean: yes, true, on, 1 or no, false, off, 0")
}

func TestSettingsOverrideFiles(t *testing.T) {
	c := mustParse(t, exec+"[Pool]\nMaxWorkers=4\nListen=/a\n",
		"Pool.MaxWorkers=2", "Pool.Listen=/b", "Worker.ExecStart=/bin/x = y", "Queue.Max=5", "Queue.Max=")
	if c.Pool.MaxWorkers != 2 || c.Queue.Max != 0 ||
		!reflect.DeepEqual(c.Pool.Listen, []string{"/a", "/b"}) ||
		!reflect.DeepEqual(c.Worker.ExecStart, []string{"/bin/x", "=", "y"}) {
		t.Errorf("got %+v", c)
	}
}

func TestFromSettingsTakesWordsAsTheyAre(t *testing.T) {
	words := []string{"./w", "%i", "$HOME", `a "b`, ""}
	c, err := FromSettings("demo", []string{"Pool.MinWorkers=0"}, words)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "demo" || !reflect.DeepEqual(c.Worker.ExecStart, words) || c.Pool.MinWorkers != 0 || len(c.Files) != 0 {
		t.Errorf("got %+v", c)
	}
	words[0] = "changed"
	if c.Worker.ExecStart[0] != "./w" {
		t.Error("Config shares the caller's slice")
	}
	_, err = FromSettings("demo", []string{"Worker.ExecStart=/bin/x"}, nil)
	wantErr(t, err, "")
	_, err = FromSettings("demo", nil, nil)
	wantErr(t, err, "[Worker] ExecStart= is missing")
	_, err = FromSettings("demo", nil, []string{""})
	wantErr(t, err, "the command to run is empty")
	_, err = FromSettings("demo", nil, []string{"/bin/x", "a\x00b"})
	wantErr(t, err, `the command to run holds a NUL byte in "a\x00b"`)
	_, err = FromSettings("../x", nil, words)
	wantErr(t, err, `pool name ../x starts with "."; it must start with a letter, a digit or _`)
}

func TestCheckNameAllowsOnlyWhatSystemdLeavesAlone(t *testing.T) {
	for _, ok := range []string{"a", "wiki", "my-app_2.0", "_x", "wiki.sock.example.org", "sock", "a.d", "9", strings.Repeat("n", 64)} {
		if err := CheckName(ok); err != nil {
			t.Error(err)
		}
	}
	const only = "; only letters A-Z a-z, digits, _ . and - are allowed, " +
		"because systemd would un-escape or refuse others in scgid@NAME.service"
	for name, want := range map[string]string{
		"":                            "the pool name is empty",
		"-x":                          `pool name -x starts with "-"; it must start with a letter, a digit or _`,
		"..":                          `pool name .. starts with "."; it must start with a letter, a digit or _`,
		"a/b":                         "pool name a/b holds '/'" + only,
		"my app":                      "pool name my app holds ' '" + only,
		`a\x2d`:                       `pool name a\x2d holds '\\'` + only,
		"ä":                           "pool name ä holds 'ä'" + only,
		"a\x00":                       `pool name "a\x00" holds '\x00'` + only,
		"wiki.sock":                   "pool name wiki.sock ends in .sock, like the socket of a pool wiki; choose a name that does not",
		"control.sock":                "pool name control.sock ends in .sock, like the socket of a pool control; choose a name that does not",
		"wiki.conf":                   "pool name wiki.conf ends in .conf, like the configuration of a pool wiki; choose a name that does not",
		"wiki.conf.d":                 "pool name wiki.conf.d ends in .conf.d, like the directory of drop-ins of a pool wiki; choose a name that does not",
		"wiki.service":                "pool name wiki.service ends in .service, like the service unit of a pool wiki; choose a name that does not",
		"wiki.socket":                 "pool name wiki.socket ends in .socket, like the socket unit of a pool wiki; choose a name that does not",
		"n" + strings.Repeat("x", 64): "pool name n" + strings.Repeat("x", 59) + "... is 65 bytes long, at most 64 are allowed",
	} {
		wantErr(t, CheckName(name), want)
	}
}

func roots(t *testing.T) (r Roots, etc, run, lib string) {
	d := t.TempDir()
	etc, run, lib = filepath.Join(d, "etc"), filepath.Join(d, "run"), filepath.Join(d, "lib")
	return Roots{etc, run, lib}, etc, run, lib
}

func TestTheMainFileIsTheFirstFound(t *testing.T) {
	r, etc, run, lib := roots(t)
	_, err := Load("app", r, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	wantErr(t, err, "no configuration: there is no app.conf in "+etc+", "+run+", "+lib)
	for i, dir := range []string{lib, run, etc} {
		p := write(t, dir, "app.conf", exec+"[Queue]\nMax="+string(rune('1'+i))+"\n")
		c, err := Load("app", r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.Queue.Max != i+1 || !reflect.DeepEqual(c.Files, []string{p}) {
			t.Errorf("read %v and Max=%d, want only %s", c.Files, c.Queue.Max, p)
		}
	}
	write(t, etc, "app.conf", "")
	_, err = Load("app", r, nil)
	wantErr(t, err, "pool is masked: "+etc+"/app.conf is empty or a link to /dev/null")
}

func TestDropInsSortByNameAndMaskByRoot(t *testing.T) {
	r, etc, run, lib := roots(t)
	main := write(t, lib, "app.conf", exec+"[Queue]\nMax=1\n[Worker]\nEnvironment=MAIN=1\n")
	b := write(t, etc, "app.conf.d/20-b.conf", "[Queue]\nMax=2\n[Worker]\nEnvironment=B=1\n")
	a := write(t, lib, "app.conf.d/10-a.conf", "[Queue]\nMax=3\n[Worker]\nEnvironment=A=1\n")
	c3 := write(t, run, "app.conf.d/30-c.conf", "[Queue]\nTimeoutSec=7\n")
	write(t, lib, "app.conf.d/20-b.conf", "[Nonsense]\n")      // masked by etc
	write(t, lib, "app.conf.d/40-d.conf", "[Nonsense]\n")      // masked by an empty file
	write(t, run, "app.conf.d/40-d.conf", "")                  //
	write(t, lib, "app.conf.d/50-e.conf", "[Nonsense]\n")      // masked by a link
	write(t, etc, "app.conf.d/README", "not a drop-in\n")      // other names are left alone
	write(t, etc, "app.conf.d/60-x.conf~", "not a drop-in\n")  //
	write(t, etc, "other.conf.d/60-x.conf", "not a drop-in\n") //
	if err := os.Symlink("/dev/null", filepath.Join(etc, "app.conf.d/50-e.conf")); err != nil {
		t.Fatal(err)
	}
	c, err := Load("app", r, []string{"Pool.MaxWorkers=3"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{main, a, b, c3}; !reflect.DeepEqual(c.Files, want) {
		t.Errorf("read %v, want %v", c.Files, want)
	}
	if c.Queue.Max != 2 || c.Queue.Timeout != 7*time.Second || c.Pool.MaxWorkers != 3 ||
		!reflect.DeepEqual(c.Worker.Environment, []string{"MAIN=1", "A=1", "B=1"}) {
		t.Errorf("got %+v", c)
	}
}

func TestErrorsOfAllFilesComeInReadingOrder(t *testing.T) {
	r, etc, _, lib := roots(t)
	write(t, etc, "app.conf", "[Pool]\nMaxWorker=3\nMinWorkers=9\n")
	write(t, lib, "app.conf.d/1.conf", "[Pool]\nMaxWorkers=8\nListenMode=888\n")
	_, err := Load("app", r, []string{"Pool.MinWorker=3"})
	wantErr(t, err, etc+"/app.conf: [Worker] ExecStart= is missing\n"+
		etc+"/app.conf:2:1: unknown key MaxWorker= in [Pool]; did you mean MaxWorkers=?\n"+
		etc+"/app.conf:3:12: MinWorkers (9) is greater than MaxWorkers (8)\n"+
		lib+"/app.conf.d/1.conf:3:12: ListenMode=888: must be an octal mode from 0001 to 0777\n"+
		"--set Pool.MinWorker=3: unknown key MinWorker= in [Pool]; did you mean MinWorkers=?")
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != 5 || errs[2].Line != 3 {
		t.Errorf("not Errors with positions: %#v", err)
	}
}

func TestBadFilesAreNamed(t *testing.T) {
	r, etc, _, _ := roots(t)
	d := t.TempDir()
	write(t, etc, "app.conf", exec)
	if err := os.MkdirAll(filepath.Join(etc, "app.conf.d/x.conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Load("app", r, nil)
	wantErr(t, err, etc+"/app.conf.d/x.conf is not a regular file")
	if err := os.Symlink("nowhere", filepath.Join(etc, "gone.conf")); err != nil {
		t.Fatal(err)
	}
	_, err = Load("gone", r, nil)
	wantErr(t, err, etc+"/gone.conf is a link to a file that does not exist")
	_, err = LoadFile(filepath.Join(d, "none.conf"), nil)
	wantErr(t, err, "open "+d+"/none.conf: no such file or directory")
	big := write(t, d, "big.conf", strings.Repeat("#\n", fileMax/2)+"#")
	_, err = LoadFile(big, nil)
	wantErr(t, err, big+" is larger than 1048576 bytes")
	_, err = LoadFile(write(t, d, "my app.conf", exec), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "cannot name the pool after "+d+"/my app.conf: pool name my app holds ' '") {
		t.Errorf("got %v", err)
	}
	_, err = Load("a/b", r, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "pool name a/b holds '/'") {
		t.Errorf("got %v", err)
	}
}

func TestLoadFileReadsThatFileOnly(t *testing.T) {
	d := t.TempDir()
	p := write(t, d, "wiki.conf", exec)
	write(t, d, "wiki.conf.d/1.conf", "[Queue]\nMax=3\n")
	c, err := LoadFile(p, []string{"Worker.Environment=N=%i"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "wiki" || c.Queue.Max != 0 || c.Worker.Environment[0] != "N=wiki" {
		t.Errorf("got %+v", c)
	}
}

func TestAFifoIsRefusedWithoutWaiting(t *testing.T) {
	p := filepath.Join(t.TempDir(), "f.conf")
	mkfifo(t, p)
	_, err := LoadFile(p, nil)
	wantErr(t, err, p+" is not a regular file")
}
