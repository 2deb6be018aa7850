package config

import (
	"reflect"
	"testing"
)

var composed = []struct {
	name      string
	set, exec []string
	want      string
}{
	{"a command alone", nil, []string{"scgi-wsgi", "wiki.wsgi:application"},
		"[Worker]\nExecStart=scgi-wsgi wiki.wsgi:application\n"},
	{"sections in the order of the table", []string{"Queue.Max=9", "Worker.Nice=5", "Pool.MaxWorkers=3"}, []string{"/bin/w"},
		"[Pool]\nMaxWorkers=3\n\n[Worker]\nExecStart=/bin/w\nNice=5\n\n[Queue]\nMax=9\n"},
	{"words that need quotes", nil, []string{"/bin/w", "a b", "$HOME", "100%", `"`, `\`, ";", "", "é\x01\xff\n"},
		`[Worker]` + "\n" + `ExecStart=/bin/w "a b" $$HOME 100%% \" \\ ";" "" é\x01\xff\x0a` + "\n"},
	{"the last of a key counts", []string{"Pool.MaxWorkers=3", "Pool.MaxWorkers=4"}, []string{"w"},
		"[Pool]\nMaxWorkers=4\n\n[Worker]\nExecStart=w\n"},
	{"a list keeps all", []string{"Worker.Environment=A=1", "Worker.Environment=B='2 3'"}, []string{"w"},
		"[Worker]\nExecStart=w\nEnvironment=A=1\nEnvironment=B='2 3'\n"},
	{"an empty value resets", []string{"Worker.Environment=A=1", "Worker.Environment=", "Pool.MinWorkers=2", "Pool.MinWorkers="}, []string{"w"},
		"[Worker]\nExecStart=w\n"},
	{"a backslash at the end continues nothing", []string{`Worker.WorkingDirectory=/srv\`, "Worker.Nice=1"}, []string{"w"},
		"[Worker]\nExecStart=w\nWorkingDirectory=/srv\\ \nNice=1\n"},
	{"the command in a setting", []string{"Worker.ExecStart=/bin/w 'a b'"}, nil,
		"[Worker]\nExecStart=/bin/w 'a b'\n"},
}

func TestComposedFilesGiveTheSameConfiguration(t *testing.T) {
	for _, c := range composed {
		t.Run(c.name, func(t *testing.T) {
			text, _, err := Compose("app", c.set, c.exec)
			if err != nil {
				t.Fatal(err)
			}
			if text != c.want {
				t.Errorf("composed\n%s\nwant\n%s", text, c.want)
			}
			got, err := LoadFile(write(t, t.TempDir(), "app.conf", text), nil)
			if err != nil {
				t.Fatal(err)
			}
			want, err := FromSettings("app", c.set, c.exec)
			if err != nil {
				t.Fatal(err)
			}
			got.Files = nil
			if !reflect.DeepEqual(values(got), values(want)) {
				t.Errorf("the file gives\n%+v\nwant\n%+v", values(got), values(want))
			}
		})
	}
}

func TestComposeRefusesWhatAFileCannotHold(t *testing.T) {
	for _, c := range []struct {
		set, exec []string
		want      string
	}{
		{nil, []string{"./w"}, "ExecStart=./w: program ./w must be an absolute path or a bare name"},
		{[]string{"Pool.MinWorker=1"}, []string{"w"}, "--set Pool.MinWorker=1: unknown key MinWorker= in [Pool]; did you mean MinWorkers=?"},
		{[]string{"Pool.MinWorkers=9"}, []string{"w"},
			"--set Pool.MinWorkers=9: MinWorkers (9) is greater than MaxWorkers (8); MaxWorkers= is not set, that is its default"},
		{nil, nil, "[Worker] ExecStart= is missing"},
		{nil, []string{"w", string(make([]byte, 1))}, `the command to run holds a NUL byte in "\x00"`},
	} {
		_, _, err := Compose("app", c.set, c.exec)
		wantErr(t, err, c.want)
	}
}

func FuzzCompose(f *testing.F) {
	f.Add("Worker.WorkingDirectory=/a\\", "/bin/w", "a b")
	f.Add("Worker.Environment=A=\"b", "w", "$x%")
	f.Add("Pool.Listen=@x\t", "@w", ";")
	f.Fuzz(func(t *testing.T, set, program, arg string) {
		exec := []string{program, arg}
		want, err := FromSettings("app", []string{set}, exec)
		text, _, composeErr := Compose("app", []string{set}, exec)
		if composeErr != nil {
			return
		}
		if err != nil {
			t.Fatalf("composed in spite of %v", err)
		}
		got, err := parse(text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		got.Files = nil
		if !reflect.DeepEqual(values(got), values(want)) {
			t.Errorf("\n%s\ngives %+v, want %+v", text, values(got), values(want))
		}
	})
}
