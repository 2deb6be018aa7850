package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/control"
)

// aScreen returns a screen that prints into a buffer.
func aScreen(width int, colour, utf8 bool) (*screen, *strings.Builder) {
	var b strings.Builder
	return &screen{Writer: bufio.NewWriter(&b), width: width, colour: colour, utf8: utf8}, &b
}

func TestCleanTextMovesNoTerminal(t *testing.T) {
	for _, tt := range []struct{ text, utf8, ascii string }{
		{"GET /wiki", "GET /wiki", "GET /wiki"},
		{"\x1b[2J\x1b]0;x\a", "?[2J?]0;x?", "?[2J?]0;x?"},
		{"a\r\nb\tc\x00\x7f", "a??b?c??", "a??b?c??"},
		{"C1: \u009b31m \u0085", "C1: ?31m ?", "C1: ?31m ?"},
		{"raw C1: \x9b31m", "raw C1: ?31m", "raw C1: ?31m"},
		{"\xff\xfe", "??", "??"},
		{"right to left: \u202e\u2066 joiner: \u200d bom: \ufeff", "right to left: ?? joiner: ? bom: ?", "right to left: ?? joiner: ? bom: ?"},
		{"lines: \u2028\u2029 space: \u00a0", "lines: ?? space: ?", "lines: ?? space: ?"},
		{"tags: \U000e0041", "tags: ?", "tags: ?"},
		{"Öffnen ✓ 日本", "Öffnen ✓ 日本", "?ffnen ? ??"},
	} {
		s, _ := aScreen(80, false, true)
		if got := s.clean(tt.text); got != tt.utf8 {
			t.Errorf("%q is %q, want %q", tt.text, got, tt.utf8)
		}
		s.utf8 = false
		if got := s.clean(tt.text); got != tt.ascii {
			t.Errorf("%q without UTF-8 is %q, want %q", tt.text, got, tt.ascii)
		}
	}
}

func TestTextIsCutByColumns(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{
		{"/short", 6, "/short"},
		{"/longer", 6, "/long…"},
		{"日本語日本語", 12, "日本語日本語"},
		{"日本語日本語", 11, "日本語日本…"},
		{"日本語日本語", 10, "日本語日…"},
		{"\x1b[31mabcdef", 8, "?[31mab…"},
		{"abc", 1, "…"},
	} {
		s, _ := aScreen(80, false, true)
		got := s.fit(tt.text, tt.width)
		if got != tt.want || textWidth(got) > tt.width {
			t.Errorf("%q in %d columns is %q (%d), want %q", tt.text, tt.width, got, textWidth(got), tt.want)
		}
	}
	s, _ := aScreen(80, false, false)
	if got := s.fit("/longer/path", 8); got != "/long..." {
		t.Errorf("without UTF-8: %q", got)
	}
}

// Marks that stand above a letter take no column, but a million of them
// would fill the screen.
func TestTextWithoutWidthIsBounded(t *testing.T) {
	s, _ := aScreen(80, false, true)
	if got := s.fit("a"+strings.Repeat("\u0301", 1<<20), 10); len(got) > 200 {
		t.Errorf("%d bytes are left", len(got))
	}
}

func TestTablesAlignAndFitTheTerminal(t *testing.T) {
	s, out := aScreen(30, false, true)
	tab := &table{columns: []column{{head: "ID", right: true}, {head: "NAME"}, {head: "URI", wide: true}, {head: "N", right: true}}}
	tab.row("1", "日本", "/a/very/long/path/to/somewhere", "5")
	tab.row("22", "x", "", "12")
	s.table(tab)
	s.Flush()
	want := "" +
		"ID  NAME  URI                N\n" +
		" 1  日本  /a/very/long/pa…   5\n" +
		"22  x                       12\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestEveryLineFitsWhateverComesFromOutside(t *testing.T) {
	long := strings.Repeat("x\x1b", 5000)
	for _, width := range []int{20, 80, 200} {
		s, out := aScreen(width, false, true)
		s.requests([]control.Request{{ID: 1, State: "active", Method: "GET", URI: long, Client: "::1"}})
		s.workers([]control.Worker{{ID: 1, State: "ready", Status: long, Request: &control.Request{Method: "GET", URI: long}}})
		s.Flush()
		for line := range strings.Lines(out.String()) {
			// A narrow terminal has lines of the least width.
			if w := textWidth(line); w > max(width, 70) {
				t.Errorf("at %d columns a line has %d", width, w)
			}
			if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), unicode.IsControl) {
				t.Errorf("control characters in %q", line)
			}
		}
	}
}

func TestNoColumnPushesTheOthersOut(t *testing.T) {
	s, out := aScreen(80, false, true)
	s.requests([]control.Request{{ID: 1, State: "active", Method: "GET", URI: "/wiki", Client: strings.Repeat("x", 1<<20)}})
	s.Flush()
	for line := range strings.Lines(out.String()) {
		if w := textWidth(line); w > 64+60 {
			t.Errorf("a long client makes a line of %d columns", w)
		}
	}
	if !strings.Contains(out.String(), "GET /wiki") {
		t.Error("the request is not shown")
	}
}

func TestColourEndsWhereItsTextEnds(t *testing.T) {
	s, out := aScreen(80, true, true)
	s.line(span{red, "\x1b[0mlost"}, " ", span{plain, "plain"}, span{bold, ""})
	tab := &table{columns: []column{{head: "A"}, {}}}
	tab.row(span{green, "ok"}, "x")
	s.table(tab)
	s.Flush()
	want := "\x1b[31m?[0mlost\x1b[0m plain\n\x1b[2mA\x1b[0m\n\x1b[32mok\x1b[0m  x\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// terminal returns the two ends of a pseudo-terminal, see pts(4).
func terminal(t *testing.T, columns uint16) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile("/dev/pts/"+count(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	return master, tty
}

func TestColourIsForTerminalsWithoutNoColor(t *testing.T) {
	_, tty := terminal(t, 132)
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if s := newScreen(tty); !s.colour || !s.terminal || s.width != 132 {
		t.Errorf("a terminal: colour %v, width %d", s.colour, s.width)
	}
	t.Setenv("NO_COLOR", "1")
	if s := newScreen(tty); s.colour || !s.terminal {
		t.Errorf("with NO_COLOR: colour %v", s.colour)
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	if newScreen(tty).colour {
		t.Error("colour on a dumb terminal")
	}
	t.Setenv("TERM", "xterm")
	_, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if s := newScreen(w); s.colour || s.terminal || s.width != plainWidth {
		t.Errorf("a pipe: colour %v, width %d", s.colour, s.width)
	}
}

func TestTheLocaleSaysWhetherUTF8IsUnderstood(t *testing.T) {
	for _, tt := range []struct {
		all, ctype, lang string
		want             bool
	}{
		{"", "", "", false},
		{"", "", "en_GB.UTF-8", true},
		{"C", "", "en_GB.UTF-8", false},
		{"", "C.utf8", "C", true},
		{"", "de_DE.ISO-8859-1", "C.UTF-8", false},
	} {
		t.Setenv("LC_ALL", tt.all)
		t.Setenv("LC_CTYPE", tt.ctype)
		t.Setenv("LANG", tt.lang)
		if got := utf8Locale(); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestHarmlessJSONMeansTheSame(t *testing.T) {
	text := "a\x1b[0m\u007f\u009b\u202e\U000e0041 日本 ✓\n<&>"
	b, err := json.MarshalIndent(map[string]string{"x": text}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	printed := harmless(string(b))
	for _, r := range printed {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%q is printed", r)
		}
	}
	var back map[string]string
	if err := json.Unmarshal([]byte(printed), &back); err != nil || back["x"] != text {
		t.Errorf("got %q (%v), want %q", back["x"], err, text)
	}
}

func TestTheBarShowsFewOfMany(t *testing.T) {
	s, _ := aScreen(100, false, false)
	for _, tt := range []struct {
		w    control.WorkerCounts
		most int
		want string
	}{
		{control.WorkerCounts{Total: 3, Busy: 1, Idle: 2}, 5, "[#==..]"},
		{control.WorkerCounts{Total: 4, Busy: 1, Idle: 1, Starting: 1, Retiring: 1}, 4, "[#=+-]"},
		{control.WorkerCounts{Total: 6, Busy: 6}, 4, "[######]"}, // during a reload
		{control.WorkerCounts{}, 3, "[...]"},
		{control.WorkerCounts{Total: 2, Busy: 1, Idle: 1}, 4096, "[#=" + strings.Repeat(".", 38) + "]"},
		{control.WorkerCounts{Total: 4096, Busy: 4095, Idle: 1}, 4096, "[" + strings.Repeat("#", 39) + "=]"},
		{control.WorkerCounts{Total: -5, Busy: -5}, -1, "[.]"},
	} {
		if got := s.bar(tt.w, tt.most); got != tt.want {
			t.Errorf("%+v of %d: %s, want %s", tt.w, tt.most, got, tt.want)
		}
	}
}

// A library asks the terminal before main begins unless it is kept from it;
// this one never answers.
func TestNothingIsAskedOfTheTerminal(t *testing.T) {
	master, tty := terminal(t, 80)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Args = []string{"scgictl", "list"}
	cmd.Env = []string{"TERM=xterm-256color", envSystem + "=" + t.TempDir()}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close() // so that reading ends with the command, with EIO (pts(4))
	out, _ := io.ReadAll(master)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if want := "no pool runs here\r\n"; string(out) != want {
		t.Errorf("the terminal got %q, want %q", out, want)
	}
}

func TestTheEnvironmentIsLeftAsItWas(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, env := range [][]string{{"CI=yes"}, {"CI="}, nil} {
		cmd := exec.Command(exe)
		cmd.Args, cmd.Env = []string{"printci"}, append([]string{"LC_ALL=C"}, env...)
		out, err := cmd.CombinedOutput()
		if want := strings.Join(env, ""); err != nil || string(out) != want {
			t.Errorf("with %q a command sees %q (%v)", env, out, err)
		}
	}
}
