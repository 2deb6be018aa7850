package master

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/scgid/scgid/control"
)

func accessLog(s *Settings) { oneWorker(s); s.AccessLog = true }

// What a worker says with DONE reaches the line, the counters and whoever asks for
// them.
func TestAReplyThatWasCutIsSaidToBe(t *testing.T) {
	f := &finished{id: 1, worker: 1, code: 200, bytes: 5, cut: true}
	if !strings.HasSuffix(f.String(), " client=- cut") {
		t.Errorf("got %q", f)
	}
	cut := false
	for _, field := range f.LogValue().Group() {
		cut = cut || field.Key == "cut" && field.Value.Bool()
	}
	if !cut {
		t.Errorf("no field says it: %v", f.LogValue())
	}
	var c Counters
	c.cut(false)
	if c.cut(true); c.Cut != 1 {
		t.Errorf("counted %d", c.Cut)
	}
}

// accessLines are the lines of requests, as a text handler writes them.
func (r *rig) accessLines() (all []string) {
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, " access.") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

// oneAccess ends the master, and returns the only line of a request.
func (r *rig) oneAccess() string {
	r.t.Helper()
	r.stopped()
	lines := r.accessLines()
	if len(lines) != 1 {
		r.t.Fatalf("%d lines of requests: %q", len(lines), lines)
	}
	return lines[0]
}

func wantLine(t *testing.T, line, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(line) {
		t.Errorf("got  %s\nwant %s", line, pattern)
	}
}

func TestAFinishedRequestIsALineForPeopleAndForMachines(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", accessLog)
	r.get("/length=KEY?a=b", "KEY", "x", "REMOTE_ADDR", "192.0.2.7")
	wantLine(t, r.oneAccess(), `level=INFO msg="GET /length=KEY\?a=b 200 1B queue=\d+\.\dms service=\d+\.\dms worker=1 client=192\.0\.2\.7" `+
		`access\.method=GET access\.uri="/length=KEY\?a=b" access\.code=200 access\.client=192\.0\.2\.7 `+
		`access\.bytes=1 access\.queue_usec=\d+ access\.service_usec=[1-9]\d* access\.worker=1 access\.request=1$`)
}

func TestARequestThatWeAnswerIsALineToo(t *testing.T) {
	body := func(status int) int { return len(strings.SplitN(string(replies[status]), "\r\n\r\n", 2)[1]) }
	t.Run("bad", func(t *testing.T) {
		checkFDs(t)
		r := begin(t, "plain", accessLog)
		c := r.dial()
		c.Write([]byte("hello"))
		r.want(c, "400 Bad Request")
		wantLine(t, r.oneAccess(), fmt.Sprintf(`msg="- - 400 %dB queue=\d+\.\dms service=0\.0ms worker=0 client=-" access\.code=400 access\.bytes=%d `, body(400), body(400)))
	})
	t.Run("no worker", func(t *testing.T) {
		checkFDs(t)
		r := begin(t, "exit", accessLog)
		c := r.send("/x")
		r.until("waits", waitingIs(1))
		r.skip(r.loop.set().QueueTimeout)
		r.want(c, "503 Service Unavailable")
		line := r.oneAccess()
		wantLine(t, line, fmt.Sprintf(`msg="GET /x 503 %dB queue=2\d{4}\.\dms service=0\.0ms worker=0 client=-" access\.method=GET access\.uri=/x access\.code=503 `, body(503)))
		if strings.Contains(line, "access.client") {
			t.Errorf("an empty field: %s", line)
		}
	})
}

func TestWhatAClientSendsCannotForgeALine(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", accessLog)
	r.get("/x 200 7B\n\x1b[31m<3>"+strings.Repeat("y", 1000), "REMOTE_ADDR", "a b\"\r\n"+strings.Repeat("z", 100))
	line := r.oneAccess()
	// The text handler quotes once more.
	wantLine(t, line, `msg="GET \\"/x 200 7B\?\?\[31m<3>y{182}\\" 200 0B queue=.* worker=1 client=\\"a b\\\\\\"\?\?z{40}\\"" `)
	if len(line) > 1200 {
		t.Errorf("a line of %d bytes", len(line))
	}
}

func TestAReplyWhoseWorkerDiedBeforeItSaidSoIsALine(t *testing.T) {
	checkFDs(t)
	r := begin(t, "unsaid", accessLog)
	r.want(r.send("/x"), "200 OK")
	r.until("it is counted", func(_ control.Status, c Counters) bool { return c.Served == 1 })
	wantLine(t, r.oneAccess(), `msg="GET /x - 0B queue=.* worker=1 client=-" access\.method=GET access\.uri=/x access\.bytes=0 `)
}

func TestNoRequestIsALineUnlessItIsAskedFor(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", oneWorker)
	r.get("/")
	r.stopped()
	if lines := r.accessLines(); len(lines) != 0 {
		t.Errorf("lines: %q", lines)
	}
}
