package config

import (
	"strings"
	"testing"
)

var errorTests = []struct{ name, text, want string }{
	{"unknown section", "[Pol]\nX=1\n" + exec, "app.conf:1:1: unknown section [Pol]; did you mean [Pool]?"},
	{"unknown section, none near", "[Frontend]\n" + exec, "app.conf:1:1: unknown section [Frontend]; sections are [Pool], [Worker], [Request], [Queue], [Control]"},
	{"section not closed", "[Pool\n" + exec, "app.conf:1:1: [Pool is not a section header such as [Pool]"},
	{"text behind section", "  [Pool] x\n" + exec, "app.conf:1:3: [Pool] x is not a section header such as [Pool]"},
	{"no section", "MaxWorkers=1\n" + exec, "app.conf:1:1: MaxWorkers=1 is outside any section; sections are [Pool], [Worker], [Request], [Queue], [Control]"},
	{"no equals", "[Pool]\nMaxWorkers 3\n" + exec, "app.conf:2:1: MaxWorkers 3 is not Key=Value"},
	{"no key", "[Pool]\n =3\n" + exec, "app.conf:2:2: =3 is not Key=Value"},
	{"near key", "[Pool]\nMaxWorker=3\n" + exec, "app.conf:2:1: unknown key MaxWorker= in [Pool]; did you mean MaxWorkers=?"},
	{"case", "[Pool]\nmaxworkers=3\n" + exec, "app.conf:2:1: unknown key maxworkers= in [Pool]; did you mean MaxWorkers=?"},
	{"without Sec", "[Pool]\nIdleTimeout=3\n" + exec, "app.conf:2:1: unknown key IdleTimeout= in [Pool]; did you mean IdleTimeoutSec=?"},
	{"other section", exec + "MaxWorkers=3\n", "app.conf:3:1: unknown key MaxWorkers= in [Worker]; MaxWorkers= belongs in [Pool]"},
	{"near key in other section", exec + "MaxWorkerz=3\n", "app.conf:3:1: unknown key MaxWorkerz= in [Worker]; did you mean MaxWorkers= in [Pool]?"},
	{"nothing near", "[Queue]\nColour=3\n" + exec, "app.conf:2:1: unknown key Colour= in [Queue]; keys there are Max=, TimeoutSec="},
	{"number", "[Pool]\nMaxWorkers = many\n" + exec, "app.conf:2:14: MaxWorkers=many: must be a number from 1 to 4096"},
	{"number too large", "[Pool]\nMaxWorkers=4097\n" + exec, "app.conf:2:12: MaxWorkers=4097: must be a number from 1 to 4096"},
	{"number far too large", "[Pool]\nMaxWorkers=99999999999999999999\n" + exec, "app.conf:2:12: MaxWorkers=99999999999999999999: must be a number from 1 to 4096"},
	{"negative", "[Queue]\nMax=-1\n" + exec, "app.conf:2:5: Max=-1: must be a number from 0 to 65536"},
	{"nice", exec + "Nice=20\n", "app.conf:3:6: Nice=20: must be a number from -20 to 19"},
	{"memory", exec + "MemoryMax=1023K\n", "app.conf:3:11: MemoryMax=1023K: must be a size from 1M to 64T, or infinity"},
	{"percent", exec + "MemoryMax=10%\n", "app.conf:3:11: MemoryMax=10%: must be a size from 1M to 64T, or infinity"},
	{"tasks", exec + "TasksMax=15\n", "app.conf:3:10: TasksMax=15: must be a number from 16 to 4194304, or infinity"},
	{"oom", exec + "OOMScoreAdjust=1001\n", "app.conf:3:16: OOMScoreAdjust=1001: must be a number from -1000 to 1000"},
	{"files", exec + "LimitNOFILE=infinity\n", "app.conf:3:13: LimitNOFILE=infinity: must be a number from 16 to 1073741824"},
	{"mode", "[Pool]\nListenMode=01777\n" + exec, "app.conf:2:12: ListenMode=01777: must be an octal mode from 0001 to 0777"},
	{"size", "[Request]\nMaxHeaderBytes=97K\n" + exec, "app.conf:2:16: MaxHeaderBytes=97K: must be a size from 1K to 96K"},
	{"size unit", "[Request]\nMaxHeaderBytes=64KB\n" + exec, "app.conf:2:16: MaxHeaderBytes=64KB: must be a size from 1K to 96K"},
	{"time unit", "[Pool]\nIdleTimeoutSec=5 fortnights\n" + exec, "app.conf:2:18: IdleTimeoutSec=5 fortnights: unknown unit fortnights; units are us, ms, s, min, h, d, w, month, y"},
	{"no time", "[Pool]\nIdleTimeoutSec=soon\n" + exec, "app.conf:2:16: IdleTimeoutSec=soon: is not a time span such as 90s or 5min 20s"},
	{"time zero", "[Request]\nHeaderTimeoutSec=0\n" + exec, "app.conf:2:18: HeaderTimeoutSec=0: must be a time span from 1ms to 1h"},
	{"time infinite", exec + "StopTimeoutSec=infinity\n", "app.conf:3:16: StopTimeoutSec=infinity: must be a time span from 1ms to 1d"},
	{"time or off", "[Pool]\nIdleExitSec=1us\n" + exec, "app.conf:2:13: IdleExitSec=1us: must be a time span from 1ms to 30d, or 0 or infinity for off"},
	{"mode for nobody", "[Pool]\nListenMode=0000\n" + exec, "app.conf:2:12: ListenMode=0000: must be an octal mode from 0001 to 0777"},
	{"probe of nothing", "[Request]\nProbeURI=health\n" + exec, "app.conf:2:10: ProbeURI=health: must be a path such as /health, or an http URL such as http://wiki.example/health"},
	{"time or off, no time", "[Pool]\nIdleExitSec=never\n" + exec, "app.conf:2:13: IdleExitSec=never: is not a time span such as 90s or 5min 20s"},
	{"time too long", "[Pool]\nIdleTimeoutSec=1 999999999999y\n" + exec, "app.conf:2:18: IdleTimeoutSec=1 999999999999y: is too long a time span"},
	{"two addresses", "[Pool]\nListen=/a /b\n" + exec, "app.conf:2:10: Listen=/a /b: holds a blank; it must be one address a line: /path, unix:/path, @name or HOST:PORT"},
	{"specifier in address", "[Pool]\nListen=/run/%t/x\n" + exec, "app.conf:2:13: Listen=/run/%t/x: unknown specifier %t; allowed are %i and %n (the pool's name) and %% (a percent sign)"},
	{"percent at the end", "[Pool]\nListen=/run/%\n" + exec, "app.conf:2:13: Listen=/run/%: ends in a single %; write %% for a percent sign"},
	{"directory", exec + "WorkingDirectory=srv\n", "app.conf:3:18: WorkingDirectory=srv: must be an absolute path"},
	{"environment file", exec + "EnvironmentFile=-x.env\n", `app.conf:3:17: EnvironmentFile=-x.env: must be an absolute path, with "-" in front if it may be missing`},
	{"environment file specifier", exec + "EnvironmentFile=-/%h\n", `app.conf:3:19: EnvironmentFile=-/%h: unknown specifier %h; allowed are %i and %n (the pool's name) and %% (a percent sign)`},
	{"environment pattern", exec + "EnvironmentFile=/etc/*.env\n", `app.conf:3:17: EnvironmentFile=/etc/*.env: is a pattern; it must be an absolute path, with "-" in front if it may be missing`},
	{"environment", exec + "Environment=A=1 secret\n", "app.conf:3:17: Environment=: is not KEY=VALUE"},
	{"environment name", exec + "Environment=A=1 2B=secret\n", "app.conf:3:17: Environment=: what is before = is not a variable name (letters, digits and _, not starting with a digit)"},
	{"environment reserved", exec + "Environment=SCGID_WORKER_FD=3\n", "app.conf:3:13: Environment=: SCGID_WORKER_FD is set by scgid itself"},
	{"environment quote", exec + "Environment=A=1 \"B=secret\n", `app.conf:3:17: Environment=: quote " is not closed`},
	{"environment specifier", exec + "Environment=A=%x\n", `app.conf:3:13: Environment=: unknown specifier %x; allowed are %i and %n (the pool's name) and %% (a percent sign)`},
	{"relative control socket", exec + "[Control]\nSocket=run/x.sock\n", "app.conf:4:8: Socket=run/x.sock: must be an absolute path of at most 107 bytes, or off"},
	{"abstract control socket", exec + "[Control]\nSocket=@x\n", "app.conf:4:8: Socket=@x: must be an absolute path of at most 107 bytes, or off"},
	{"control socket too long", exec + "[Control]\nSocket=/%i/" + strings.Repeat("s", 103) + "\n", "app.conf:4:8: Socket=/%i/" + strings.Repeat("s", 56) + "...: must be an absolute path of at most 107 bytes, or off"},
	{"control socket specifier", exec + "[Control]\nSocket=/run/%t\n", "app.conf:4:13: Socket=/run/%t: unknown specifier %t; allowed are %i and %n (the pool's name) and %% (a percent sign)"},
	{"group option", exec + "[Control]\nGroup=-1\n", "app.conf:4:7: Group=-1: must be the name or the number of a group"},
	{"group list", exec + "[Control]\nReadGroup=adm,www\n", "app.conf:4:11: ReadGroup=adm,www: must be the name or the number of a group"},
	{"group number", exec + "[Control]\nGroup=4294967295\n", "app.conf:4:7: Group=4294967295: must be the name or the number of a group"},
	{"own user", exec + "[Control]\nOwnUser=all\n", "app.conf:4:9: OwnUser=all: must be read or full"},
	{"bus", exec + "[Control]\nBus=yes\n", "app.conf:4:5: Bus=yes: must be auto, system, session or off"},
	{"near control key", exec + "[Control]\nReadGrp=adm\n", "app.conf:4:1: unknown key ReadGrp= in [Control]; did you mean ReadGroup=?"},
	{"no command", "[Pool]\n", "app.conf: [Worker] ExecStart= is missing"},
	{"empty command", "[Worker]\nExecStart=\n", "app.conf: [Worker] ExecStart= is missing"},
	{"empty file", "", "app.conf: [Worker] ExecStart= is missing"},
	{"prefix", "[Worker]\nExecStart=-/bin/w\n", `app.conf:2:11: ExecStart=-/bin/w: prefix character "-" is not supported; the command starts with its program`},
	{"prefix +", "[Worker]\nExecStart=+/bin/w\n", `app.conf:2:11: ExecStart=+/bin/w: prefix character "+" is not supported; the command starts with its program`},
	{"quote", "[Worker]\nExecStart=/bin/w 'a\n", "app.conf:2:18: ExecStart=/bin/w 'a: quote ' is not closed"},
	{"quote on a continued line", "[Worker]\nExecStart=/bin/w a \\\n  # comment\n   b \"c\n", `app.conf:4:6: ExecStart=/bin/w a  b "c: quote " is not closed`},
	{"escape", "[Worker]\nExecStart=/bin/w a\\q\n", `app.conf:2:19: ExecStart=/bin/w a\q: unknown escape \q; write \\ for a backslash`},
	{"backslash and blank", "[Worker]\nExecStart=/bin/w a\\ \n", `app.conf:2:19: ExecStart=/bin/w a\: ends in a single \; write \\ for a backslash`},
	{"variable", "[Worker]\nExecStart=/bin/w ${HOME}/x\n", "app.conf:2:18: ExecStart=/bin/w ${HOME}/x: variables such as ${HOME} are not replaced; write $$ for a dollar sign"},
	{"variable plain", "[Worker]\nExecStart=/bin/w '$A-b'\n", "app.conf:2:18: ExecStart=/bin/w '$A-b': variables such as $A are not replaced; write $$ for a dollar sign"},
	{"specifier", "[Worker]\nExecStart=/bin/w %h\n", "app.conf:2:18: ExecStart=/bin/w %h: unknown specifier %h; allowed are %i and %n (the pool's name) and %% (a percent sign)"},
	{"two commands", "[Worker]\nExecStart=/bin/w ; /bin/x\n", `app.conf:2:18: ExecStart=/bin/w ; /bin/x: ";" separates commands, and only one is allowed; write \; for an argument ";"`},
	{"relative program", "[Worker]\nExecStart=bin/w\n", "app.conf:2:11: ExecStart=bin/w: program bin/w must be an absolute path or a bare name"},
	{"empty program", "[Worker]\nExecStart='' x\n", "app.conf:2:11: ExecStart='' x: the program name is empty"},
	{"second command", exec + "ExecStart=/bin/x\n", "app.conf:3:1: ExecStart= is already set at app.conf:2; write an empty ExecStart= first to replace it"},
	{"limits", exec + "[Pool]\nMinWorkers=9\nMaxWorkers=8\n", "app.conf:4:12: MinWorkers (9) is greater than MaxWorkers (8)"},
	{"limits beside a default", exec + "[Pool]\nMinWorkers=9\n", "app.conf:4:12: MinWorkers (9) is greater than MaxWorkers (8); MaxWorkers= is not set, that is its default"},
	{"idle limits", exec + "[Pool]\nMaxIdle=2\nMinIdle=3\n", "app.conf:5:9: MinIdle (3) is greater than MaxIdle (2)"},
	{"idle above all", exec + "[Pool]\nMaxIdle=20\n", "app.conf:4:9: MaxIdle (20) is greater than MaxWorkers (8); MaxWorkers= is not set, that is its default"},
	{"no second error from a bad limit", exec + "[Pool]\nMinWorkers=9\nMaxWorkers=x\n", "app.conf:5:12: MaxWorkers=x: must be a number from 1 to 4096"},
	{"NUL", exec + "Nice=\x001\n", "app.conf:3:6: line holds the control character U+0000"},
	{"CR inside", exec + "Nice=1\r2\n", "app.conf:3:7: line holds the control character U+000D"},
	{"not UTF-8", exec + "Environment=A=\xff\n", "app.conf:3:15: line is not valid UTF-8"},
	{"bad bytes in a continued line", "[Pool]\nListen=/a\\\n \x01 \\\n=\n" + exec, "app.conf:3:2: line holds the control character U+0001"},
	{"long line", exec + "Environment=A=" + strings.Repeat("x", lineMax) + "\n", "app.conf:3:1: line is longer than 65536 bytes"},
	{"long continued line", exec + "Environment=A=\\\n" + strings.Repeat(strings.Repeat("x", 1<<10)+"\\\n", 64) + "\n", "app.conf:67:1: line is longer than 65536 bytes"},
	{"long value", "[Pool]\nMaxWorkers=" + strings.Repeat("9", 100) + "\n" + exec, "app.conf:2:12: MaxWorkers=" + strings.Repeat("9", 60) + "...: must be a number from 1 to 4096"},
	{"unprintable value", "[Pool]\nMaxWorkers=\u202e9\n" + exec, `app.conf:2:12: MaxWorkers="\u202e9": must be a number from 1 to 4096`},
	{"byte order mark elsewhere", "[Pool]\n\ufeffMaxWorkers=9\n" + exec, `app.conf:2:1: unknown key "\ufeffMaxWorkers"= in [Pool]; did you mean MaxWorkers=?`},
	{"all at once", "[Pool]\nMaxWorkers=0\nMin=1\n[Queue]\nMax=x\n[Worker]\nNice=99\n", "app.conf: [Worker] ExecStart= is missing\n" +
		"app.conf:2:12: MaxWorkers=0: must be a number from 1 to 4096\n" +
		"app.conf:3:1: unknown key Min= in [Pool]; did you mean Max= in [Queue]?\n" +
		"app.conf:5:5: Max=x: must be a number from 0 to 65536\n" +
		"app.conf:7:6: Nice=99: must be a number from -20 to 19"},
}

func TestErrorsNameFileLineKeyAndWhatIsAllowed(t *testing.T) {
	for _, tt := range errorTests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(tt.text)
			wantErr(t, err, tt.want)
		})
	}
}

func TestSetErrorsNameTheArgument(t *testing.T) {
	for set, want := range map[string]string{
		"Pool.MinWorker=3":      "--set Pool.MinWorker=3: unknown key MinWorker= in [Pool]; did you mean MinWorkers=?",
		"Worker.MinWorkers=3":   "--set Worker.MinWorkers=3: unknown key MinWorkers= in [Worker]; MinWorkers= belongs in [Pool]",
		"pool.MinWorkers=3":     "--set pool.MinWorkers=3: unknown section pool; did you mean [Pool]?",
		"MinWorkers=3":          "--set MinWorkers=3: is not Section.Key=VALUE; did you mean Pool.MinWorkers=?",
		"Pool.MinWorkers":       "--set Pool.MinWorkers: is not Section.Key=VALUE",
		"":                      `--set "": is not Section.Key=VALUE`,
		"Pool.MinWorkers=x":     "--set Pool.MinWorkers=x: must be a number from 0 to 4096",
		"Pool.MinWorkers=9":     "--set Pool.MinWorkers=9: MinWorkers (9) is greater than MaxWorkers (8); MaxWorkers= is not set, that is its default",
		"Worker.ExecStart=a 'b": "--set Worker.ExecStart=a 'b: quote ' is not closed",
		"Queue.Max=1\n2":        `--set "Queue.Max=1\n2": line holds the control character U+000A`,
		"Queue.Max=" + strings.Repeat("1", lineMax): "--set Queue.Max=" + strings.Repeat("1", 50) + "...: is longer than 65536 bytes",
	} {
		_, err := FromSettings("app", []string{set}, []string{"/bin/w"})
		wantErr(t, err, want)
	}
}

func TestErrorsAreBounded(t *testing.T) {
	_, err := parse(strings.Repeat("[Pool]\nNope=1\n", fileMax/16))
	errs, ok := err.(Errors)
	if !ok || len(errs) != errorsMax+1 || errs[errorsMax].Error() != "and more errors" {
		t.Errorf("got %d errors, the last is %v", len(errs), errs[len(errs)-1])
	}
	if len(err.Error()) > errorsMax*300 {
		t.Errorf("text is %d bytes long", len(err.Error()))
	}
}
