package config

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestLinesAreSystemds(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"plain", "[Worker]\nExecStart=/bin/w a b\n"},
		{"blanks around", "  [Worker]  \n\tExecStart  =  /bin/w a b  \n"},
		{"no newline at the end", "[Worker]\nExecStart=/bin/w a b"},
		{"CRLF", "[Worker]\r\nExecStart=/bin/w \\\r\n a b\r\n"},
		{"byte order mark", "\ufeff[Worker]\nExecStart=/bin/w a b\n"},
		{"comments", "# x = \xff\n; [Pool]\n  # y \\\n[Worker]\n#\nExecStart=/bin/w a b\n# the end"},
		{"continued", "[Worker]\nExecStart=/bin/w \\\n  a\\\n b\n"},
		{"comment between continued lines", "[Worker]\nExecStart=/bin/w \\\n# no\\\n ; no\n  a b\n"},
		{"continued at the end of the file", "[Worker]\nExecStart=/bin/w a b\\\n"},
		{"continued to a comment at the end", "[Worker]\nExecStart=/bin/w a b\\\n#"},
		{"continued to a blank line", "[Worker]\nExecStart=/bin/w a b\\\n\nNice=0\n"},
		{"extensions are ignored", "[X-Mine]\nFoo=1\nnonsense\n[Worker]\nX-Bar=2\nExecStart=/bin/w a b\n"},
		{"section repeated", "[Worker]\nNice=0\n[Pool]\n[Worker]\nExecStart=/bin/w a b\n"},
	} {
		c, err := parse(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := strings.Join(c.Worker.ExecStart, "|"); got != "/bin/w|a|b" {
			t.Errorf("%s: got %s", tt.name, got)
		}
	}
}

func TestAnEscapedBackslashDoesNotContinue(t *testing.T) {
	c := mustParse(t, "[Worker]\nExecStart=/bin/w a\\\\\nNice=3\n")
	if c.Worker.ExecStart[1] != `a\` || c.Worker.Nice != 3 {
		t.Errorf("got %q, Nice=%d", c.Worker.ExecStart, c.Worker.Nice)
	}
}

// The unit package by itself stops at 2048 bytes; a command may be longer.
func TestLongLinesAreRead(t *testing.T) {
	long := strings.Repeat("x", 60<<10)
	c := mustParse(t, "[Worker]\nExecStart=/bin/w "+long+"\n")
	if c.Worker.ExecStart[1] != long {
		t.Errorf("got %d bytes, want %d", len(c.Worker.ExecStart[1]), len(long))
	}
}

var wordTests = []struct {
	in   string
	want []string
}{
	{"", nil},
	{" \t ", nil},
	{"a  b\tc", []string{"a", "b", "c"}},
	{`"a b" 'c d'`, []string{"a b", "c d"}},
	{`a"b c"d`, []string{"ab cd"}},
	{`"" ''`, []string{"", ""}},
	{`"it's" 'say "x"'`, []string{"it's", `say "x"`}},
	{`a\sb \x41\102 \u00e4 \U0001F600`, []string{"a b", "AB", "ä", "😀"}},
	{`'a\'b' "a\"b" \\ \t\n`, []string{"a'b", `a"b`, `\`, "\t\n"}},
	{`$x ; \; # *`, []string{"$x", ";", ";", "#", "*"}},
}

func TestWordsAreSplitLikeSystemds(t *testing.T) {
	for _, tt := range wordTests {
		words, err := splitWords(tt.in)
		var got []string
		for _, w := range words {
			got = append(got, w.text)
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: got %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
	for in, want := range map[string]fault{
		`a "b`:       {2, `quote " is not closed`},
		`a b'c`:      {3, `quote ' is not closed`},
		`ab\`:        {2, `ends in a single \; write \\ for a backslash`},
		`\ü`:         {0, `unknown escape \ü; write \\ for a backslash`},
		`\x4`:        {0, `escape \x needs 2 digits`},
		`a\xzz`:      {1, `\xzz is not an escape of 2 digits`},
		`\x00`:       {0, `\x00 is a NUL byte, which no argument can hold`},
		`\000`:       {0, `\000 is a NUL byte, which no argument can hold`},
		`\777`:       {0, `\777 is not a character`},
		`\ud800`:     {0, `\ud800 is not a character`},
		`\UFFFFFFFF`: {0, `\UFFFFFFFF is not a character`},
		`\u12`:       {0, `escape \u needs 4 digits`},
		`\x+1`:       {0, `\x+1 is not an escape of 2 digits`},
	} {
		_, err := splitWords(in)
		var f *fault
		if !errors.As(err, &f) || *f != want {
			t.Errorf("%q: got %+v, want %+v", in, f, want)
		}
	}
}

func TestTimeSpansAreSystemds(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"0": 0, "90": 90 * time.Second, "1.5": 1500 * time.Millisecond, ".5s": 500 * time.Millisecond,
		"5min 20s": 320 * time.Second, "5min20s": 320 * time.Second, "5 min 20 s": 320 * time.Second,
		"2h": 2 * hour, "1hr 1m": 61 * time.Minute, "3d": 3 * day, "1w": 7 * day, "1y": year, "12M": year,
		"1ms 2us": 1002 * time.Microsecond, "3µs": 3 * time.Microsecond, "1.0000001s": time.Second,
		"300 msec": 300 * millisecond, "infinity": infinity, " infinity ": infinity,
	} {
		if got, err := timeSpan(in); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", in, got, err, want)
		}
	}
	const noSpan = "is not a time span such as 90s or 5min 20s"
	for in, want := range map[string]fault{
		"":                     {0, noSpan},
		"s":                    {0, noSpan},
		"-5s":                  {0, noSpan},
		"5s s":                 {3, noSpan},
		"1.2.3s":               {3, noSpan},
		"5 parsecs":            {2, "unknown unit parsecs; units are us, ms, s, min, h, d, w, month, y"},
		"5S":                   {1, "unknown unit S; units are us, ms, s, min, h, d, w, month, y"},
		"1 infinity":           {2, "unknown unit infinity; units are us, ms, s, min, h, d, w, month, y"},
		"1s 300y":              {3, "is too long a time span"},
		"99999999999999999999": {0, "is too long a time span"},
		"200y 200y":            {5, "is too long a time span"},
	} {
		_, err := timeSpan(in)
		var f *fault
		if !errors.As(err, &f) || *f != want {
			t.Errorf("%q: got %+v, want %+v", in, f, want)
		}
	}
}

func TestSizesAreSystemds(t *testing.T) {
	for in, want := range map[string]uint64{"0": 0, "1023": 1023, "5B": 5, "64K": 64 << 10, "1 M": 1 << 20,
		"2G": 2 << 30, "1T": 1 << 40, "18446744073709551615": math.MaxUint64} {
		if got, ok := parseSize(in); !ok || got != want {
			t.Errorf("%q: got %d, %v, want %d", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "K", "-1", "+1", "1k", "1KB", "1.5K", "18446744073709551616", "18014398509481985T", "0x10"} {
		if got, ok := parseSize(in); ok {
			t.Errorf("%q: got %d, want none", in, got)
		}
	}
}

func TestSpecifiersAndDollars(t *testing.T) {
	c := mustParse(t, "[Worker]\nExecStart=/opt/%n/w 100%% %%i $$HOME $ a$ $1 '%i x' \\;\nEnvironment=P=$HOME\n")
	want := []string{"/opt/app/w", "100%", "%i", "$HOME", "$", "a$", "$1", "app x", ";"}
	if !reflect.DeepEqual(c.Worker.ExecStart, want) || c.Worker.Environment[0] != "P=$HOME" {
		t.Errorf("got %q and %q", c.Worker.ExecStart, c.Worker.Environment)
	}
}

func TestListsAreBounded(t *testing.T) {
	_, err := parse(exec + "[Pool]\n" + strings.Repeat("Listen=/x\n", listMax+1))
	wantErr(t, err, "app.conf:1028:8: Listen=/x: is one entry too many, 1024 are allowed")
}

func TestFilesOfShortLinesAreBounded(t *testing.T) {
	_, err := parse(exec + strings.Repeat("Nice=\n", linesMax))
	wantErr(t, err, "app.conf:16385:1: file has more than 16384 lines")
}

func FuzzParse(f *testing.F) {
	for _, tt := range errorTests {
		if len(tt.text) < 1<<10 { // mutating the long ones takes all the time
			f.Add(tt.text)
		}
	}
	f.Add(everyKey)
	for _, text := range effectiveTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(text)
		if (c == nil) == (err == nil) {
			t.Fatalf("got %v and %v", c, err)
		}
		if err == nil {
			if e := c.Pool.Validate(); e != nil || len(c.Worker.ExecStart) == 0 {
				t.Fatalf("accepted %+v, %v", c, e)
			}
			checkRoundTrip(t, c)
			return
		}
		lines := strings.Count(text, "\n") + 1
		for _, e := range err.(Errors) {
			if e.Line < 0 || e.Line > lines || e.Line > 0 && e.Col < 1 {
				t.Fatalf("%v: there are %d lines", e, lines)
			}
			if len(e.Error()) > 1000 || strings.ContainsAny(e.Error(), "\n\r\x00\x1b") {
				t.Fatalf("error is not one short line: %q", e.Error())
			}
		}
	})
}

func FuzzSplitWords(f *testing.F) {
	for _, tt := range wordTests {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words, err := splitWords(s)
		var f *fault
		if err != nil && (!errors.As(err, &f) || f.off < 0 || f.off >= len(s)) {
			t.Fatalf("%q: fault %+v", s, f)
		}
		end := -1
		for _, w := range words {
			if w.off <= end || w.off >= len(s) || blank(s[w.off]) || strings.IndexByte(w.text, 0) >= 0 && strings.IndexByte(s, 0) < 0 {
				t.Fatalf("%q: word %+v", s, w)
			}
			end = w.off
			if strings.IndexByte(w.text, 0) >= 0 { // no line of a file holds one
				continue
			}
			if again, err := splitWords(quoteWord(w.text, false)); err != nil || len(again) != 1 || again[0].text != w.text {
				t.Fatalf("%q is written as %q, which is %q, %v", w.text, quoteWord(w.text, false), again, err)
			}
		}
	})
}

func FuzzTimeSpan(f *testing.F) {
	for _, s := range []string{"5min 20s", "1.5h", "infinity", "9223372036s", ".9999999999y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := timeSpan(s)
		var f *fault
		if err != nil && (!errors.As(err, &f) || f.off < 0 || f.off > len(s)) || d < 0 {
			t.Fatalf("%q: %v, %+v", s, d, f)
		}
		if err == nil && d != infinity {
			if again, err := timeSpan(spanText(d)); err != nil || again != d {
				t.Fatalf("%q: %v, then %v, %v", s, d, again, err)
			}
		}
	})
}
