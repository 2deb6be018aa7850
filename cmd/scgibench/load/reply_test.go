package load

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

const plain = "Status: 200 OK\r\nContent-Length: 5\r\n\r\nhello"

var replyTests = []struct {
	name   string
	reply  string
	expect Expect
	want   kind
}{
	{"plain", plain, Expect{}, good},
	{"no status is 200", "Content-Type: a\n\nx", Expect{Status: 200}, good},
	{"status line", "HTTP/1.1 404 Not Found\r\n\r\n", Expect{Status: 404}, good},
	{"status without reason", "status:204\n\n", Expect{Status: 204}, good},
	{"redirect", "Status: 302 Found\r\n\r\n", Expect{}, good},
	{"not modified has no body", "Status: 304\r\nContent-Length: 5\r\n\r\n", Expect{}, good},
	{"nothing", "", Expect{}, empty},
	{"half a header", "Status: 200 OK\r\n", Expect{}, short},
	{"half a body", plain[:len(plain)-1], Expect{}, short},
	{"half an error page", "Status: 500\nContent-Length: 9\n\nx", Expect{}, short},
	{"no colon", "hello\n\n", Expect{}, header},
	{"blank first line", "\r\nhello", Expect{}, header},
	{"bad length", "Content-Length: -1\n\n", Expect{}, header},
	{"bad status", "Status: 20x\n\n", Expect{}, header},
	{"long status", "Status: 2000\n\n", Expect{}, header},
	{"endless header", strings.Repeat("A: b\n", maxHead/4), Expect{}, header},
	{"error page", "Status: 503 Busy\n\n", Expect{}, status},
	{"other status", plain, Expect{Status: 201}, status},
	{"more than announced", plain + "!", Expect{}, length},
	{"other length", plain, Expect{Length: num(4)}, length},
	{"the length", plain, Expect{Length: num(5)}, good},
	{"the text", plain, Expect{Body: str("hello")}, good},
	{"other text", plain, Expect{Body: str("hallo")}, body},
	{"less text", "A: b\n\nhell", Expect{Body: str("hello")}, body},
	{"more text", "A: b\n\nhello!", Expect{Body: str("hello")}, body},
	{"text for none", plain, Expect{Body: str("")}, body},
	{"no text", "A: b\n\n", Expect{Body: str("")}, good},
	{"the sum", plain, Expect{Body: str(sumOf("hello"))}, good},
	{"other sum", plain, Expect{Body: str(sumOf("hallo"))}, body},
	{"sum of nothing", "A: b\n\n", Expect{Body: str(sumOf(""))}, good},
	{"sum of something", "A: b\n\n", Expect{Body: str(sumOf("x"))}, body},
}

func num(n int64) *int64   { return &n }
func str(s string) *string { return &s }

func sumOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Each reply is judged alike however it is cut, and twice by the same client.
func TestRepliesAreJudgedByKind(t *testing.T) {
	for _, test := range replyTests {
		check, err := test.expect.checker()
		if err != nil {
			t.Fatal(err)
		}
		r := reply{check: check}
		for _, piece := range []int{1 << 20, 7, 1, 1 << 20} {
			piece = max(piece, len(test.reply)/1000)
			r.reset()
			for at := 0; at < len(test.reply); at += piece {
				r.feed([]byte(test.reply[at:min(at+piece, len(test.reply))]))
			}
			if got := r.end(test.reply != ""); got.kind != test.want {
				t.Errorf("%s, by %d bytes: %v (%v), want %v", test.name, piece, got.kind, got, test.want)
			}
		}
	}
}

func TestHeadRepliesHaveNoBody(t *testing.T) {
	r := reply{check: &checker{length: -1, head: true}}
	r.reset()
	r.feed([]byte("Content-Length: 5\n\n"))
	if got := r.end(true); got.kind != good {
		t.Errorf("%v: %v", got.kind, got)
	}
}

func TestExpectationsAreChecked(t *testing.T) {
	for _, x := range []Expect{
		{Status: 99}, {Status: 1000}, {Length: num(-1)}, {Body: str("sha256:12")},
		{Body: str("sha256:" + strings.Repeat("x", 64))},
	} {
		if _, err := x.checker(); err == nil {
			t.Errorf("%+v is accepted", x)
		}
	}
}

func TestJudgingAllocatesNothing(t *testing.T) {
	check, _ := Expect{Body: str(sumOf("hello"))}.checker()
	r := reply{check: check}
	whole := []byte(plain)
	n := testing.AllocsPerRun(100, func() {
		r.reset()
		r.feed(whole)
		if r.end(true).kind != good {
			t.Error("not good")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a reply", n)
	}
}
