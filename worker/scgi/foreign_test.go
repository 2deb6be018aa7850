package scgi

import "testing"

var foreignTests = []struct {
	bytes string
	want  Protocol
}{
	{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", HTTP},
	{"POST /a HTTP/1.0\r\n", HTTP},
	{"M-SEARCH * HTTP/1.1\r\n", HTTP},
	{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTP},
	{"CONNECT a:443 HTTP/1.1\r\n", HTTP},
	{"GET http://a/ HTTP/1.1\r\n", HTTP},
	{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", TLS},
	{"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", FastCGI},
	{"\x00\x13\x00\x00\x0e\x00REQUEST_METHOD\x03\x00GET", UWSGI},
	{"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n24:", Proxy},
	{"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c", Proxy},
	{"", NotForeign},
	{"70:CONTENT_LENGTH", NotForeign},
	{"G", NotForeign},
	{"GET", NotForeign},
	{"GET ", NotForeign},
	{"hello world", NotForeign},
	{"\x00", NotForeign},
	{"\x00\x00\x00\x00\x00\x00\x00\x00", NotForeign},
	{"\x16\x03", NotForeign},
	{"\r\n\r\n", NotForeign},
}

func TestForeignProtocolsAreKnownByTheirFirstBytes(t *testing.T) {
	for _, tt := range foreignTests {
		if got := Foreign([]byte(tt.bytes)); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.bytes, got, tt.want)
		}
	}
}

func TestForeignIsNothingThatPeekTakes(t *testing.T) {
	for _, tt := range foreignTests {
		if _, err := Peek([]byte(tt.bytes), 0); tt.want != NotForeign && (err == nil || err == ErrShort) {
			t.Errorf("%q: Peek says %v", tt.bytes, err)
		}
	}
}
