package scgi

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"testing"
	"testing/iotest"
)

func addHeaders(f *testing.F) {
	for _, b := range captured(f) {
		f.Add(b)
	}
	for _, tt := range headerTests {
		if len(tt.in) < 4096 {
			f.Add([]byte(tt.in))
		}
	}
}

func FuzzPeekAgreesWithReadRequest(f *testing.F) {
	addHeaders(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 12
		before := bytes.Clone(b)
		h, err := Peek(b, limit)
		if !bytes.Equal(b, before) {
			t.Fatal("Peek changed its input")
		}
		want := brokenOff(err, string(b))
		for _, r := range []*bufio.Reader{
			bufio.NewReaderSize(bytes.NewReader(b), 16),
			bufio.NewReader(iotest.OneByteReader(bytes.NewReader(b))),
		} {
			q, err := ReadRequest(r, limit)
			if err != want {
				t.Fatalf("ReadRequest says %v, want %v", err, want)
			}
			if err == nil {
				checkRequest(t, b, h, q)
			}
		}
		if err == nil {
			checkPrefixes(t, b, h.Size, limit)
		}
	})
}

// checkRequest compares what Peek and ReadRequest have found in b.
func checkRequest(t *testing.T, b []byte, h Head, q *Request) {
	if q.ContentLength != h.ContentLength {
		t.Fatalf("length %d, peeked %d", q.ContentLength, h.ContentLength)
	}
	for name, peeked := range map[string][]byte{"REQUEST_METHOD": h.Method, "REQUEST_URI": h.URI, "REMOTE_ADDR": h.RemoteAddr} {
		v, ok := q.Header.Lookup(name)
		if v != string(peeked) || ok != (peeked != nil) {
			t.Fatalf("%s is %q, peeked %q", name, v, peeked)
		}
	}
	body, err := io.ReadAll(q.Body)
	follows := b[h.Size:]
	if int64(len(follows)) < q.ContentLength {
		if err != io.ErrUnexpectedEOF || !bytes.Equal(body, follows) {
			t.Fatalf("body that breaks off: %q, %v", body, err)
		}
	} else if err != nil || !bytes.Equal(body, follows[:q.ContentLength]) {
		t.Fatalf("body %q, %v", body, err)
	}
}

func checkPrefixes(t *testing.T, b []byte, size, limit int) {
	for i := range size {
		if _, err := Peek(b[:i], limit); err != ErrShort {
			t.Fatalf("%d of %d bytes: %v", i, size, err)
		}
	}
}

func FuzzHeaderRoundTrip(f *testing.F) {
	addHeaders(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := ReadRequest(bufio.NewReader(bytes.NewReader(b)), 0)
		if err != nil {
			return
		}
		again, err := AppendHeader(nil, q.Header)
		if err != nil {
			if err == errManyVars && len(q.Header) == MaxVars && q.Header.Get(versionName) == "" {
				return // full before SCGI was added
			}
			t.Fatalf("cannot encode what was read: %v", err)
		}
		if canonical := len(q.Header) > 1 && q.Header[1].Name == versionName; canonical && !bytes.HasPrefix(b, again) {
			t.Fatalf("bytes changed: %q", again)
		}
		p, err := ReadRequest(bufio.NewReader(bytes.NewReader(again)), 2*DefaultMaxHeader)
		if err != nil {
			t.Fatalf("cannot read what was encoded: %v", err)
		}
		version := func(v Var) bool { return v.Name == versionName }
		if !slices.Equal(slices.DeleteFunc(p.Header, version), slices.DeleteFunc(q.Header, version)) {
			t.Fatalf("variables changed: %q", p.Header)
		}
	})
}

func FuzzReadResponse(f *testing.F) {
	for _, tt := range replyTests {
		f.Add([]byte(tt.in), tt.method == http.MethodHead)
	}
	f.Fuzz(func(t *testing.T, b []byte, head bool) {
		req := &http.Request{Method: http.MethodGet}
		if head {
			req.Method = http.MethodHead
		}
		p, err := ReadResponse(bufio.NewReaderSize(bytes.NewReader(b), 16), req)
		if err != nil {
			return
		}
		if p.StatusCode < 200 || p.StatusCode > 999 {
			t.Fatalf("status %d", p.StatusCode)
		}
		for name, values := range p.Header {
			if !isToken(name) {
				t.Fatalf("field %q", name)
			}
			for _, v := range values {
				if bytes.ContainsAny([]byte(v), "\x00\r\n") {
					t.Fatalf("%s: %q", name, v)
				}
			}
		}
		body, err := io.ReadAll(p.Body)
		if !bytes.HasSuffix(b, body) && p.ContentLength < 0 {
			t.Fatalf("body %q", body)
		}
		if p.ContentLength >= 0 && int64(len(body)) > p.ContentLength {
			t.Fatalf("body of %d bytes, length %d", len(body), p.ContentLength)
		}
		if err == nil && !head && p.ContentLength >= 0 && int64(len(body)) != p.ContentLength {
			t.Fatalf("body of %d bytes, length %d, no error", len(body), p.ContentLength)
		}
	})
}
