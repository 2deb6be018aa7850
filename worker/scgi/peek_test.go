package scgi

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// netstring frames a block that is given with "|" for NUL.
func netstring(block string) string {
	block = strings.ReplaceAll(block, "|", "\x00")
	return fmt.Sprintf("%d:%s,", len(block), block)
}

// captured returns what real web servers sent with the settings that Debian 12
// gives them (nginx also without scgi_params): a GET and the POST of a form by
// curl. Only paths were changed afterwards.
func captured(tb testing.TB) map[string][]byte {
	names, err := filepath.Glob("testdata/captured/*.scgi")
	if err != nil || len(names) == 0 {
		tb.Fatalf("no captured requests: %v", err)
	}
	all := make(map[string][]byte)
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(name), ".scgi")] = b
	}
	return all
}

// headerTests are judged by Peek, ReadRequest and, where there is a whole
// block, ParseBlock.
var headerTests = []struct {
	name string
	in   string
	want error // nil, a *SyntaxError, ErrShort or ErrTooLarge
}{
	// The netstring.
	{"nothing yet", "", ErrShort},
	{"empty netstring", "0:,", errLeadingZero},
	{"leading zero", "024:CONTENT_LENGTH\x000\x00SCGI\x001\x00,", errLeadingZero},
	{"plus sign", "+5:abc,", errNotDigit},
	{"minus sign", "-5:abc,", errNotDigit},
	{"leading space", " 5:abc,", errNotDigit},
	{"space before colon", "5 :abc,", errNotDigit},
	{"hexadecimal", "1a:abc,", errNotDigit},
	{"hexadecimal with 0x", "0x1a:abc,", errLeadingZero},
	{"no digits", ":abc,", errNoLength},
	{"HTTP by mistake", "GET / HTTP/1.1\r\n\r\n", errNotDigit},
	{"TLS by mistake", "\x16\x03\x01\x02\x00", errNotDigit},
	{"20 digits", "12345678901234567890:", errLongLength},
	{"10 digits", "1234567890", errLongLength},
	{"9 digits, no colon yet", "123456789", ErrShort},
	{"longer than the limit", "65537:", ErrTooLarge},
	{"9 digits", "999999999:", ErrTooLarge},
	{"at the limit, not whole", "65536:", ErrShort},
	{"missing comma", "24:CONTENT_LENGTH\x000\x00SCGI\x001\x00\n", errNoComma},
	{"wrong comma", "24:CONTENT_LENGTH\x000\x00SCGI\x001\x00;", errNoComma},
	{"comma one late", "24:CONTENT_LENGTH\x000\x00SCGI\x001\x00 ,", errNoComma},

	// The block.
	{"least", netstring("CONTENT_LENGTH|0|"), nil},
	{"no NUL at all", netstring("CONTENT_LENGTH"), errNoNUL},
	{"last value without NUL", netstring("CONTENT_LENGTH|0|SCGI|1"), errNoNUL},
	{"last name without NUL", netstring("CONTENT_LENGTH|0|SCGI"), errNoNUL},
	{"odd number of strings", netstring("CONTENT_LENGTH|0|SCGI|"), errOdd},
	{"length's name alone", netstring("CONTENT_LENGTH|"), errOdd},
	{"empty name", netstring("CONTENT_LENGTH|0||x|"), errEmptyName},
	{"empty name and value", netstring("CONTENT_LENGTH|0|||"), errEmptyName},
	{"name with =", netstring("CONTENT_LENGTH|0|A=B|c|"), nil},
	{"value with newline", netstring("CONTENT_LENGTH|0|A|b\r\nc|"), nil},
	{"8-bit and invalid UTF-8", netstring("CONTENT_LENGTH|0|A\xff|\xc3\x28\x80|"), nil},
	{"value with comma and colon", netstring("CONTENT_LENGTH|0|A|,5:x,|"), nil},
	{"as many variables as allowed", netstring("CONTENT_LENGTH|0|" + strings.Repeat("A|b|", MaxVars-1)), nil},
	{"one variable too many", netstring("CONTENT_LENGTH|0|" + strings.Repeat("A|b|", MaxVars)), errManyVars},

	// CONTENT_LENGTH.
	{"length not first", netstring("SCGI|1|CONTENT_LENGTH|0|"), errLengthFirst},
	{"length absent", netstring("SCGI|1|A|b|"), errLengthFirst},
	{"length in lower case", netstring("content_length|0|"), errLengthFirst},
	{"length empty", netstring("CONTENT_LENGTH||SCGI|1|"), errLengthValue},
	{"length unknown", netstring("CONTENT_LENGTH|-1|SCGI|1|"), errLengthUnknown},
	{"length -2", netstring("CONTENT_LENGTH|-2|"), errLengthValue},
	{"length with plus", netstring("CONTENT_LENGTH|+1|"), errLengthValue},
	{"length with space", netstring("CONTENT_LENGTH|1 |"), errLengthValue},
	{"length in hexadecimal", netstring("CONTENT_LENGTH|0x1|"), errLengthValue},
	{"length with leading zero", netstring("CONTENT_LENGTH|01|"), errLengthValue},
	{"length 00", netstring("CONTENT_LENGTH|00|"), errLengthValue},
	{"length of 18 digits", netstring("CONTENT_LENGTH|999999999999999999|"), nil},
	{"length of 19 digits", netstring("CONTENT_LENGTH|1000000000000000000|"), errLengthValue},
	{"length over 2^63", netstring("CONTENT_LENGTH|9223372036854775809|"), errLengthValue},
	{"length twice, same", netstring("CONTENT_LENGTH|1|CONTENT_LENGTH|1|"), errLengthTwice},
	{"length twice, different", netstring("CONTENT_LENGTH|1|A|b|CONTENT_LENGTH|2|"), errLengthTwice},
	{"length 0 with bytes following", netstring("CONTENT_LENGTH|0|") + "bytes", nil},
	{"body longer than its length", netstring("CONTENT_LENGTH|2|") + "bytes", nil},
	{"body shorter than its length", netstring("CONTENT_LENGTH|9|") + "bytes", nil},

	// SCGI, and names that come twice.
	{"SCGI absent", netstring("CONTENT_LENGTH|0|A|b|"), nil},
	{"SCGI last", netstring("CONTENT_LENGTH|0|A|b|SCGI|1|"), nil},
	{"SCGI 2", netstring("CONTENT_LENGTH|0|SCGI|2|"), errVersion},
	{"SCGI empty", netstring("CONTENT_LENGTH|0|SCGI||"), errVersion},
	{"SCGI twice", netstring("CONTENT_LENGTH|0|SCGI|1|SCGI|1|"), errVersionTwice},
	{"HTTP_X twice", netstring("CONTENT_LENGTH|0|HTTP_X|1|HTTP_X|2|"), nil},
	{"other name twice", netstring("CONTENT_LENGTH|0|REQUEST_URI|/a|REQUEST_URI|/b|"), nil},
	{"another length in HTTP_CONTENT_LENGTH", netstring("CONTENT_LENGTH|2|HTTP_CONTENT_LENGTH|5|") + "bytes", nil},
	{"chunked by HTTP_TRANSFER_ENCODING", netstring("CONTENT_LENGTH|5|HTTP_TRANSFER_ENCODING|chunked|") + "plain", nil},
	{"HTTPS in all its forms", netstring("CONTENT_LENGTH|0|HTTPS|off|HTTPS||HTTPS|1|REQUEST_SCHEME|https|"), nil},
	{"cookies of 60 KiB", netstring("CONTENT_LENGTH|0|HTTP_COOKIE|" + strings.Repeat("c", 60<<10) + "|"), nil},
	{"cookies of 64 KiB", netstring("CONTENT_LENGTH|0|HTTP_COOKIE|" + strings.Repeat("c", 64<<10) + "|"), ErrTooLarge},
	{"cookies of 1 MiB", netstring("CONTENT_LENGTH|0|HTTP_COOKIE|" + strings.Repeat("c", 1<<20) + "|"), ErrTooLarge},
}

func TestPeekJudges(t *testing.T) {
	for _, tt := range headerTests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Peek([]byte(tt.in), 0); err != tt.want {
				t.Errorf("Peek: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestReadRequestJudgesAsPeekDoes(t *testing.T) {
	for _, tt := range headerTests {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{16, 4096, 1 << 17} {
				_, err := ReadRequest(bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(tt.in)), size), 0)
				if want := brokenOff(tt.want, tt.in); err != want {
					t.Errorf("ReadRequest, buffer of %d: %v, want %v", size, err, want)
				}
			}
		})
	}
}

// brokenOff is what ReadRequest says, at the end of file, where Peek said err.
func brokenOff(err error, in string) error {
	switch {
	case err != ErrShort:
		return err
	case in == "":
		return io.EOF
	}
	return io.ErrUnexpectedEOF
}

func TestSyntaxErrorsCarryTheStatus(t *testing.T) {
	for _, tt := range headerTests {
		var bad *SyntaxError
		if !errors.As(tt.want, &bad) {
			continue
		}
		want := 400
		if bad == errLengthUnknown {
			want = 411
		}
		if bad.Status != want || bad.Reason == "" {
			t.Errorf("%s: status %d, want %d; reason %q", tt.name, bad.Status, want, bad.Reason)
		}
	}
}

func TestPeekSeesWhatWebServersSend(t *testing.T) {
	uris := map[string]string{
		"nginx-get": "/wiki/Front%20Page?x=1&y=%2F", "nginx-post": "/form", "nginx-without-scgi_params": "",
		"apache-get": "/wiki/Front%20Page?x=1&y=%2F", "apache-post": "/form",
		"lighttpd-get": "/wiki/Front%20Page?x=1&y=%2F", "lighttpd-post": "/form",
	}
	for name, b := range captured(t) {
		uri, ok := uris[name]
		if !ok {
			t.Errorf("%s: unknown capture", name)
		}
		h, err := Peek(b, 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if string(h.URI) != uri {
			t.Errorf("%s: URI %q, want %q", name, h.URI, uri)
		}
		method, body := "GET", ""
		if strings.HasSuffix(name, "-post") {
			method, body = "POST", "name=value&more=1"
		}
		if uri == "" {
			if h.Method != nil || h.URI != nil || h.RemoteAddr != nil {
				t.Errorf("%s: absent variables are not nil: %q %q %q", name, h.Method, h.URI, h.RemoteAddr)
			}
		} else if string(h.Method) != method || string(h.RemoteAddr) != "127.0.0.1" {
			t.Errorf("%s: method %q, address %q", name, h.Method, h.RemoteAddr)
		}
		if string(b[h.Size:]) != body || h.ContentLength != int64(len(body)) {
			t.Errorf("%s: size %d, length %d leave body %q", name, h.Size, h.ContentLength, b[h.Size:])
		}
	}
}

func TestPeekOnAnyPrefixIsShort(t *testing.T) {
	for name, b := range captured(t) {
		whole, err := Peek(b, 0)
		if err != nil {
			t.Fatal(err)
		}
		colon := bytes.IndexByte(b, ':')
		for i := 0; i < whole.Size; i++ {
			h, err := Peek(b[:i], 0)
			if err != ErrShort {
				t.Fatalf("%s: %d of %d bytes: %v", name, i, whole.Size, err)
			}
			want := 0
			if i > colon {
				want = whole.Size
			}
			if h.Size != want {
				t.Fatalf("%s: %d of %d bytes: size %d, want %d", name, i, whole.Size, h.Size, want)
			}
		}
		if h, err := Peek(b[:whole.Size], 0); err != nil || h.ContentLength != whole.ContentLength {
			t.Errorf("%s: the body's presence matters: %v", name, err)
		}
	}
}

func TestPeekTellsTheSizeOfWhatIsTooLarge(t *testing.T) {
	if h, err := Peek([]byte("70000:"), 0); err != ErrTooLarge || h.Size != 70007 {
		t.Errorf("size %d, %v", h.Size, err)
	}
	b := []byte(netstring("CONTENT_LENGTH|0|"))
	if _, err := Peek(b, 17); err != nil {
		t.Errorf("payload at the limit: %v", err)
	}
	if _, err := Peek(b, 16); err != ErrTooLarge {
		t.Errorf("payload over the limit: %v", err)
	}
}

func TestPeekKeepsEmptyApartFromAbsent(t *testing.T) {
	h, err := Peek([]byte(netstring("CONTENT_LENGTH|0|REQUEST_URI||")), 0)
	if err != nil || h.URI == nil || len(h.URI) != 0 || h.Method != nil {
		t.Errorf("URI %#v, method %#v, %v", h.URI, h.Method, err)
	}
}

func TestPeekSlicesCannotGrowIntoTheBuffer(t *testing.T) {
	b := []byte(netstring("CONTENT_LENGTH|0|REQUEST_URI|/|A|b|"))
	before := string(b)
	h, _ := Peek(b, 0)
	_ = append(h.URI, "xyz"...)
	if string(b) != before {
		t.Error("append to URI changed the peeked buffer")
	}
}

func TestPeekDoesNotAllocate(t *testing.T) {
	whole := captured(t)["nginx-get"]
	bad := []byte(netstring("CONTENT_LENGTH|-1|"))
	for name, b := range map[string][]byte{"whole": whole, "short": whole[:100], "length only": whole[:2], "bad": bad} {
		if n := testing.AllocsPerRun(100, func() { Peek(b, 0) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPeek(b *testing.B) {
	in := captured(b)["nginx-get"] // a usual request
	if h, _, _ := ParseBlock(in[bytes.IndexByte(in, ':')+1 : len(in)-1]); len(h) < 20 {
		b.Fatalf("only %d variables", len(h))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Peek(in, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadRequest(b *testing.B) {
	in := captured(b)["nginx-get"]
	src := bytes.NewReader(nil)
	r := bufio.NewReader(src)
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(in)
		r.Reset(src)
		if _, err := ReadRequest(r, 0); err != nil {
			b.Fatal(err)
		}
	}
}
