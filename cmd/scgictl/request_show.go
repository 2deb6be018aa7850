package main

import (
	"bytes"
	"net/http"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/scgid/scgid/control"
)

// showVars prints what is sent.
func (c *ctl) showVars(a *scgiRequest, to endpoint) {
	c.err.line(span{dim, "* to " + to.String()})
	for _, v := range a.vars {
		c.err.line(span{dim, "> "}, v.Name+"="+v.Value)
	}
	c.err.line(span{dim, "> " + plural(uint64(a.length), "byte") + " of body"})
	c.err.Flush()
}

// showHead prints the reply's header where it is wanted: with -i before the
// body, with -v beside it.
func (c *ctl) showHead(r *http.Response, f requestFlags) {
	if c.json {
		return
	}
	lines := append([]string{"Status: " + r.Status}, fields(r.Header)...)
	if f.verbose {
		for _, l := range lines {
			c.err.line(span{dim, "< "}, l)
		}
		c.err.Flush()
	}
	if f.head {
		for _, l := range lines {
			c.out.line(l)
		}
		c.out.line()
	}
}

// fields gives a header's lines in the order of their names.
func fields(h http.Header) []string {
	var all []string
	for name, values := range h {
		for _, v := range values {
			all = append(all, name+": "+v)
		}
	}
	sort.Strings(all)
	return all
}

// showTiming prints when each part was over, from the beginning.
func (c *ctl) showTiming(t timing, got int64) {
	for _, part := range []struct {
		name string
		at   time.Duration
	}{{"connected", t.Connect}, {"request sent", t.Sent}, {"first byte", t.FirstByte}, {"whole reply", t.Whole}} {
		at := "-"
		if part.at > 0 {
			at = duration(part.at)
		}
		c.err.line(span{dim, "* "}, part.name+" after "+at)
	}
	c.err.line(span{dim, "* "}, plural(uint64(got), "byte")+" of body")
	c.err.Flush()
}

// A summary is what request --json prints.
type summary struct {
	Address   string              `json:"address"`
	Method    string              `json:"method"`
	URI       string              `json:"uri"`
	Variables map[string]string   `json:"variables,omitempty"` // with -v
	Status    int                 `json:"status,omitempty"`
	Header    map[string][]string `json:"header,omitempty"`
	Bytes     int64               `json:"body_bytes"`
	Whole     bool                `json:"whole"`
	Error     string              `json:"error,omitempty"`
	Seconds   summaryTiming       `json:"seconds"`
}

// summaryTiming says when each part was over, from the beginning; 0 is never.
type summaryTiming struct {
	Connect   float64 `json:"connect"`
	Sent      float64 `json:"sent"`
	FirstByte float64 `json:"first_byte"`
	Whole     float64 `json:"whole"`
}

// summary is the reply as JSON, which is printed also where the reply is broken:
// it says how far it came.
func (c *ctl) summary(a *scgiRequest, to endpoint, r *http.Response, took timing, got int64, err error, f requestFlags) error {
	s := summary{Address: to.String(), Method: a.req.Method, URI: a.req.RequestURI, Bytes: got, Whole: err == nil,
		Seconds: summaryTiming{took.Connect.Seconds(), took.Sent.Seconds(), took.FirstByte.Seconds(), took.Whole.Seconds()}}
	if r != nil {
		s.Status, s.Header = r.StatusCode, r.Header
	}
	if f.verbose {
		s.Variables = map[string]string{}
		for _, v := range a.vars {
			s.Variables[v.Name] = v.Value
		}
	}
	if err != nil {
		s.Error = control.AsError(err).Text
	}
	if e := c.show(s, nil); e != nil {
		return e
	}
	return replyError(r, err, f.fail)
}

// terminalBody shows a body on a terminal: text made harmless, and of
// anything else only that it is there.
type terminalBody struct {
	out, err *screen
	begun    bool
	binary   bool
	held     []byte // the beginning of a character whose end has not come
	skipped  int
	last     byte
}

// looksBinary tells whether a body that begins so is not text.
func looksBinary(b []byte) bool {
	b = b[:min(len(b), 1024)]
	if bytes.IndexByte(b, 0) >= 0 {
		return true
	}
	odd := 0
	for rest := b; len(rest) > 0 && utf8.FullRune(rest); {
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n == 1 || r < ' ' && !strings.ContainsRune("\t\n\r\f\x1b", r) {
			odd++
		}
		rest = rest[n:]
	}
	return odd*10 > len(b)
}

// Write prints whole characters only; what a part ends with may be half of one.
func (t *terminalBody) Write(p []byte) (int, error) {
	if !t.begun {
		t.begun, t.binary = true, looksBinary(p)
	}
	if t.binary {
		t.skipped += len(p)
		return len(p), nil
	}
	text := append(t.held, p...)
	whole := len(text)
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if at := len(text) - i; utf8.RuneStart(text[at]) {
			if !utf8.FullRune(text[at:]) {
				whole = at
			}
			break
		}
	}
	t.held = append([]byte(nil), text[whole:]...)
	t.text(string(text[:whole]))
	return len(p), t.out.Flush()
}

// text prints text with its lines and tabs.
func (t *terminalBody) text(s string) {
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			t.out.WriteByte('\n')
		}
		for j, word := range strings.Split(strings.TrimSuffix(line, "\r"), "\t") {
			if j > 0 {
				t.out.WriteByte('\t')
			}
			t.out.WriteString(t.out.clean(word))
		}
	}
	if s != "" {
		t.last = s[len(s)-1]
	}
}

// Close ends the last line, and says what was not shown.
func (t *terminalBody) Close() error {
	t.text(string(t.held))
	t.held = nil
	if t.last != 0 && t.last != '\n' {
		t.out.WriteByte('\n')
	}
	if t.binary {
		t.err.line("scgictl: the body is not text (" + plural(uint64(t.skipped), "byte") + "), so it is not shown")
		t.err.line(span{dim, "scgictl: hint: "}, "-o FILE writes it to a file")
		t.err.Flush()
	}
	return t.out.Flush()
}
