package scgi

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func read(t *testing.T, in string) *Request {
	t.Helper()
	q, err := ReadRequest(bufio.NewReader(strings.NewReader(in)), 0)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestBodyIsBoundedByContentLength(t *testing.T) {
	for _, tt := range []struct {
		name, block, follows, body string
		err                        error
	}{
		{"none", "CONTENT_LENGTH|0|", "bytes", "", nil},
		{"exact", "CONTENT_LENGTH|5|", "bytes", "bytes", nil},
		{"more follows", "CONTENT_LENGTH|2|", "bytes", "by", nil},
		{"peer closes early", "CONTENT_LENGTH|9|", "bytes", "bytes", io.ErrUnexpectedEOF},
		{"peer sends none", "CONTENT_LENGTH|9|", "", "", io.ErrUnexpectedEOF},
		{"other length in a header field", "CONTENT_LENGTH|2|HTTP_CONTENT_LENGTH|5|", "bytes", "by", nil},
		{"not decoded", "CONTENT_LENGTH|12|HTTP_TRANSFER_ENCODING|chunked|", "2\r\nab\r\n0\r\n\r\n", "2\r\nab\r\n0\r\n\r\n"[:12], nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := read(t, netstring(tt.block)+tt.follows)
			b, err := io.ReadAll(q.Body)
			if string(b) != tt.body || err != tt.err {
				t.Errorf("body %q, %v; want %q, %v", b, err, tt.body, tt.err)
			}
			if left := q.ContentLength - int64(len(b)); q.Unread() != left {
				t.Errorf("unread %d, want %d", q.Unread(), left)
			}
		})
	}
}

func TestReadRequestWaitsForNoByteTooMany(t *testing.T) {
	in := netstring("CONTENT_LENGTH|3|A|b|") + "abc"
	r, w := io.Pipe() // a read past the last byte would wait forever
	go func() {
		for i := range in {
			w.Write([]byte{in[i]})
		}
	}()
	for _, size := range []int{16, 4096} {
		if size == 4096 {
			go w.Write([]byte(in))
		}
		q, err := ReadRequest(bufio.NewReaderSize(r, size), 0)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(q.Body); string(b) != "abc" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	}
	go w.Write([]byte("+")) // known to be bad without a second byte
	if _, err := ReadRequest(bufio.NewReader(r), 0); err != errNotDigit {
		t.Errorf("%v, want %v", err, errNotDigit)
	}
}

func TestReadRequestPassesOnTheConnectionsError(t *testing.T) {
	in := netstring("CONTENT_LENGTH|3|A|b|") + "abc"
	for i := range len(in) - 3 {
		r := io.MultiReader(strings.NewReader(in[:i]), iotest.ErrReader(iotest.ErrTimeout))
		if _, err := ReadRequest(bufio.NewReader(r), 0); !errors.Is(err, iotest.ErrTimeout) {
			t.Fatalf("after %d bytes: %v", i, err)
		}
	}
}

func TestALengthAloneTakesNoMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ReadRequest(bufio.NewReader(strings.NewReader("900000000:CONTENT_LENGTH")), 1<<30)
	runtime.ReadMemStats(&after)
	if err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were allocated for 24 that came", n)
	}
}

func TestLargeBlocksAreReadWhenAllowed(t *testing.T) {
	value := strings.Repeat("c", 1<<20)
	in := netstring("CONTENT_LENGTH|4|HTTP_COOKIE|"+value+"|") + "body"
	q, err := ReadRequest(bufio.NewReader(strings.NewReader(in)), 2<<20)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(q.Body)
	if q.Header.Get("HTTP_COOKIE") != value || string(b) != "body" || err != nil {
		t.Errorf("body %q, %v", b, err)
	}
}

func TestHeaderKeepsOrderAndJoinsFields(t *testing.T) {
	q := read(t, netstring("CONTENT_LENGTH|0|HTTP_X|1|REQUEST_URI|/a|HTTP_X|2|HTTP_COOKIE|a=1|HTTP_COOKIE|b=2|REQUEST_URI|/b|EMPTY||A=B|c|BYTES|\xff\xc3\x28|LINES|a\r\nb|"))
	for name, want := range map[string]string{
		"HTTP_X": "1, 2", "HTTP_COOKIE": "a=1; b=2", "REQUEST_URI": "/b", "CONTENT_LENGTH": "0",
		"EMPTY": "", "A=B": "c", "BYTES": "\xff\xc3\x28", "LINES": "a\r\nb",
	} {
		if got, ok := q.Header.Lookup(name); got != want || !ok {
			t.Errorf("%s = %q, %v; want %q", name, got, ok, want)
		}
		if got := q.Header.Map()[name]; got != want {
			t.Errorf("Map: %s = %q, want %q", name, got, want)
		}
	}
	if v, ok := q.Header.Lookup("http_x"); ok || v != "" {
		t.Errorf("names are compared without case: %q", v)
	}
	if v, ok := q.Header.Lookup("ABSENT"); ok || v != "" {
		t.Errorf("absent variable: %q, %v", v, ok)
	}
	if q.Header[1] != (Var{"HTTP_X", "1"}) || q.Header[3] != (Var{"HTTP_X", "2"}) {
		t.Errorf("order is lost: %q", q.Header)
	}
}

func TestParseBlockKeepsNothingOfItsInput(t *testing.T) {
	b := []byte("CONTENT_LENGTH\x007\x00A\x00b\x00")
	h, n, err := ParseBlock(b)
	clear(b)
	if err != nil || n != 7 || h[1] != (Var{"A", "b"}) {
		t.Errorf("%q, %d, %v", h, n, err)
	}
	if _, _, err := ParseBlock(nil); err != errEmptyBlock {
		t.Errorf("empty block: %v", err)
	}
}

func TestAppendHeaderPutsLengthAndVersionFirst(t *testing.T) {
	want := "prefix" + netstring("CONTENT_LENGTH|5|SCGI|1|A|b|C||")
	for _, vars := range [][]Var{
		{{"A", "b"}, {"C", ""}, {"SCGI", "1"}, {"CONTENT_LENGTH", "5"}},
		{{"A", "b"}, {"CONTENT_LENGTH", "5"}, {"C", ""}},
		{{"CONTENT_LENGTH", "5"}, {"SCGI", "1"}, {"A", "b"}, {"C", ""}},
	} {
		if got, err := AppendHeader([]byte("prefix"), vars); string(got) != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

func TestAppendHeaderRefusesWhatCannotBeRead(t *testing.T) {
	many := []Var{{"CONTENT_LENGTH", "0"}}
	for range MaxVars - 1 {
		many = append(many, Var{"A", "b"})
	}
	for name, vars := range map[string][]Var{
		"no length":        {{"A", "b"}},
		"nothing":          nil,
		"second length":    {{"CONTENT_LENGTH", "5"}, {"CONTENT_LENGTH", "5"}},
		"bad length":       {{"CONTENT_LENGTH", "05"}},
		"unknown length":   {{"CONTENT_LENGTH", "-1"}},
		"NUL in name":      {{"CONTENT_LENGTH", "5"}, {"A\x00", "b"}},
		"NUL in value":     {{"CONTENT_LENGTH", "5"}, {"A", "b\x00c"}},
		"empty name":       {{"CONTENT_LENGTH", "5"}, {"", "b"}},
		"other version":    {{"CONTENT_LENGTH", "5"}, {"SCGI", "2"}},
		"version twice":    {{"CONTENT_LENGTH", "5"}, {"SCGI", "1"}, {"SCGI", "1"}},
		"too many with it": many,
	} {
		got, err := AppendHeader([]byte("prefix"), vars)
		var bad *SyntaxError
		if !errors.As(err, &bad) || string(got) != "prefix" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if b, err := AppendHeader(nil, many[:MaxVars-1]); err != nil {
		t.Errorf("as many as allowed: %v", err)
	} else if _, err := Peek(b, 0); err != nil {
		t.Errorf("as many as allowed: %v", err)
	}
}

func TestCapturedHeadersRoundTrip(t *testing.T) {
	for name, b := range captured(t) {
		q, err := ReadRequest(bufio.NewReader(bytes.NewReader(b)), 0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := AppendHeader(nil, q.Header)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p := read(t, string(again))
		if len(p.Header) < len(q.Header) || p.ContentLength != q.ContentLength {
			t.Errorf("%s: %d variables became %d", name, len(q.Header), len(p.Header))
		}
		for _, v := range q.Header {
			if p.Header.Get(v.Name) != q.Header.Get(v.Name) {
				t.Errorf("%s: %s changed", name, v.Name)
			}
		}
		if strings.HasPrefix(name, "apache") && !bytes.HasPrefix(b, again) { // its order is ours
			t.Errorf("%s: bytes changed: %q", name, again)
		}
	}
}
