package api

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

func TestVerbsDoWhatTheySay(t *testing.T) {
	noLeft(t)
	s, ctx := serve(t, me(), nil), soon(t)
	var limits control.Limits
	if err := s.client.Call(ctx, "scale", map[string]any{"min_workers": 4, "max_workers": 5}, &limits); err != nil {
		t.Fatal(err)
	}
	if want := (control.Limits{MinWorkers: 4, MaxWorkers: 5, MinIdle: 1, MaxIdle: 4}); limits != want {
		t.Errorf("scale: %+v", limits)
	}
	status, err := s.client.Status(ctx)
	if err != nil || status.Workers.Total != 4 || !status.Scaled || !reflect.DeepEqual(status, s.pool.Snapshot()) {
		t.Errorf("status: %+v, %v", status, err)
	}
	if err := s.client.Call(ctx, "kill", map[string]any{"worker": 3}, nil); err != nil {
		t.Fatal(err)
	}
	workers, err := s.client.Workers(ctx)
	if err != nil || len(workers) != 3 || workers[2].ID != 4 {
		t.Errorf("workers: %+v, %v", workers, err)
	}
	config, err := s.client.Config(ctx)
	if err != nil || len(config) != 1 || config[0].Key != "MaxWorkers" {
		t.Errorf("config: %+v, %v", config, err)
	}
	requests, err := s.client.Requests(ctx)
	if err != nil || requests == nil || len(requests) != 0 {
		t.Errorf("requests: %+v, %v", requests, err)
	}
	var level struct{ Level string }
	if err := s.client.Call(ctx, "log-level", map[string]any{"level": "debug"}, nil); err != nil {
		t.Error(err)
	}
	if err := s.client.Call(ctx, "log-level", nil, &level); err != nil || level.Level != "debug" {
		t.Errorf("log-level: %+v, %v", level, err)
	}
	for _, verb := range []string{"pause", "resume"} {
		var none map[string]any
		if err := s.client.Call(ctx, verb, nil, &none); err != nil || none == nil || len(none) != 0 {
			t.Errorf("%s: %v, %v", verb, none, err)
		}
	}
}

func TestErrorsReachTheClientWhole(t *testing.T) {
	s := serve(t, me(), nil)
	for _, tt := range []struct {
		verb string
		args map[string]any
		want control.Error
	}{
		{"kill", map[string]any{"worker": 99}, control.Error{Code: control.CodeNoWorker, Text: "there is no worker 99"}},
		{"kill", nil, control.Error{Code: control.CodeInvalid, Text: "cannot kill a worker: argument worker is missing"}},
		{"resume", nil, control.Error{Code: control.CodeState, Text: "the pool is running"}},
		{"scale", map[string]any{"max_workers": 0}, control.Error{Code: control.CodeInvalid, Text: "cannot change the limits: MaxWorkers (0) is not in the range 1 to 4096"}},
		{"scale", nil, control.Error{Code: control.CodeInvalid, Text: "cannot change the limits: none is given",
			Hint: "give one of min_workers, max_workers, min_idle, max_idle, max_busy, or reset"}},
		{"fly", nil, control.Error{Code: control.CodeNoVerb, Text: `there is nothing at "/v1/fly"`, Hint: "GET /v1/verbs lists what there is"}},
		{"a/b", nil, control.Error{Code: control.CodeNoVerb, Text: `there is no verb "a/b"`}},
	} {
		err := s.client.Call(soon(t), tt.verb, tt.args, nil)
		if e, ok := err.(*control.Error); !ok || *e != tt.want {
			t.Errorf("%s %v: %+v, want %+v", tt.verb, tt.args, err, tt.want)
		}
	}
}

func TestProblemIsAsRFC9457WritesIt(t *testing.T) {
	s := serve(t, control.Access{OwnUID: ownUID, Group: -1, ReadGroup: -1}, func(*net.UnixConn) (control.Caller, error) {
		return control.Caller{UID: 1000, GIDs: []uint32{1000}}, nil
	})
	r, body := s.say(post("/v1/stop", "{}"))
	want := `{"type":"https://scgid.org/problems/NotPermitted","title":"Not permitted","status":403,` +
		`"detail":"cannot stop the pool: permission denied (uid 1000 may see name and state only)",` +
		`"hint":"run as root, or as a member of the group that Control.Group= names"}` + "\n"
	if body != want || r.StatusCode != 403 || r.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %v\n%s", r.Status, r.Header, body)
	}
	for range 100 {
		if _, body := s.say(get("/v1/status")); body != `{"name":"wiki","state":"running"}`+"\n" {
			t.Errorf("status: %s", body)
		}
	}
	if n := s.pool.Calls; n > 20 {
		t.Errorf("one who may see name and state only had the pool read %d times", n)
	}
}

func TestOnlyExactRequestsAreTaken(t *testing.T) {
	s := serve(t, me(), nil)
	for _, tt := range []struct {
		raw    string
		status int
		detail string
	}{
		{get("/v1/status"), 200, ""},
		{post("/v1/status", "{}"), 200, ""},
		{post("/v1/status", ""), 200, ""},
		{post("/v1/pause", ` {"limit": 2} `+"\n"), 200, ""},
		{get("/metrics?a=b"), 200, ""},
		{get("/"), 404, `there is nothing at "/"`},
		{get("/v1/"), 404, `there is nothing at "/v1/"`},
		{get("/v1/status/"), 404, `there is nothing at "/v1/status/"`},
		{get("//v1/status"), 404, `there is nothing at "//v1/status"`},
		{get("/v1/../v1/status"), 404, `there is nothing at "/v1/../v1/status"`},
		{get("/v1/%73tatus"), 404, `there is nothing at "/v1/%73tatus"`},
		{get("/V1/STATUS"), 404, `there is nothing at "/V1/STATUS"`},
		{"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404, `there is nothing at "*"`},
		{get("/v1/stop"), 405, `/v1/stop takes POST, not "GET"`},
		{strings.Replace(get("/v1/status"), "GET", "DELETE", 1), 405, `/v1/status takes GET, POST, not "DELETE"`},
		{get("/v1/status", "Content-Length: 2") + "{}", 400, "GET takes no body"},
		{post("/v1/stop?now=true", "{}"), 400, "/v1/stop takes no query"},
		{post("/v1/stop", "[]"), 400, "cannot stop the pool: the body is not a JSON object"},
		{post("/v1/stop", "null"), 400, "cannot stop the pool: the body is not a JSON object"},
		{post("/v1/stop", "{"), 400, "cannot stop the pool: the body is not a JSON object: EOF"},
		{post("/v1/stop", `{"now":true}x`), 400, "cannot stop the pool: something follows the JSON object"},
		{post("/v1/stop", `{}{}`), 400, "cannot stop the pool: something follows the JSON object"},
		{post("/v1/stop", `{"now":false,"now":true}`), 400, `cannot stop the pool: argument "now" comes twice`},
		{post("/v1/stop", `{"force":true}`), 400, `cannot stop the pool: there is no argument "force"`},
		{post("/v1/stop", "{}"+strings.Repeat(" ", maxBody)), 413, "the body is larger than 65536 bytes"},
		{post("/v1/stop", "{}", "Origin: http://localhost"), 403, "requests with an Origin header are refused"},
		{get("/v1/status", "Origin: null"), 403, "requests with an Origin header are refused"},
		{get("/metrics", "Origin:"), 403, "requests with an Origin header are refused"},
		{get("/v1/events", "origin: x"), 403, "requests with an Origin header are refused"},
	} {
		r, body := s.say(tt.raw)
		var p problem
		if r.StatusCode != 200 && json.Unmarshal([]byte(body), &p) != nil {
			t.Errorf("%.60q: %s", tt.raw, body)
		}
		if r.StatusCode != tt.status || p.Detail != tt.detail {
			t.Errorf("%.60q: %s %s, want %d %s", tt.raw, r.Status, p.Detail, tt.status, tt.detail)
		}
		if allow := r.Header.Get("Allow"); (allow != "") != (tt.status == http.StatusMethodNotAllowed) {
			t.Errorf("%.60q: Allow: %s", tt.raw, allow)
		}
	}
	if s.pool.St.State != control.Paused {
		t.Errorf("the pool is %s", s.pool.St.State)
	}
}

func TestTableOfVerbsIsTold(t *testing.T) {
	s := serve(t, control.Access{OwnUID: ownUID, Group: -1, ReadGroup: -1}, func(*net.UnixConn) (control.Caller, error) {
		return control.Caller{UID: 1000}, nil
	})
	_, body := s.say(get("/v1/verbs"))
	var table []verbInfo
	if err := json.Unmarshal([]byte(body), &table); err != nil || len(table) != len(control.Verbs()) {
		t.Fatalf("%v: %s", err, body)
	}
	for i, v := range control.Verbs() {
		if table[i].Name != v.Name || table[i].Help != v.Help || table[i].Level != v.Level.String() || len(table[i].Args) != len(v.Args) {
			t.Errorf("%+v is not %s", table[i], v.Name)
		}
	}
}

func TestCurlIsEnough(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs curl")
		}
		t.Skip("needs curl")
	}
	s := serve(t, me(), nil)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(curl, append([]string{"-sS", "--max-time", "10", "--unix-socket", s.socket}, args...)...).Output()
		if err != nil {
			t.Errorf("curl %v: %v", args, err)
		}
		return string(out)
	}
	var status control.Status
	if err := json.Unmarshal([]byte(run("http://localhost/v1/status")), &status); err != nil || status.Name != "wiki" {
		t.Errorf("%v: %+v", err, status)
	}
	if out := run("-d", `{"max_workers": 3}`, "http://localhost/v1/scale"); out != `{"min_workers":2,"max_workers":3,"min_idle":1,"max_idle":3,"max_busy":"auto"}`+"\n" {
		t.Errorf("scale: %s", out)
	}
	if out := run("-X", "POST", "http://localhost/v1/pause"); out != "{}\n" {
		t.Errorf("pause: %s", out)
	}
	if out := run("-o", "/dev/null", "-w", "%{http_code} %{content_type}", "-d", "{}", "http://localhost/v1/kill"); out != "400 application/problem+json" {
		t.Errorf("kill: %s", out)
	}
	if out := run("http://localhost/metrics"); !strings.Contains(out, "scgid_up{pool=") {
		t.Errorf("metrics: %s", out)
	}
}

func TestALongCallEndsWithItsCaller(t *testing.T) {
	s := serve(t, me(), nil)
	release := s.pool.Hold()
	c := s.dial()
	if _, err := c.Write([]byte(post("/v1/stop", "{}"))); err != nil {
		t.Fatal(err)
	}
	until(t, "the pool is draining", func() bool { st, _ := s.pool.Status(soon(t)); return st.State == control.Draining })
	c.Close()
	until(t, "the call has ended", func() bool { return s.connections() == 0 })
	select {
	case <-s.pool.Stopped:
		t.Error("the stop waits for nobody")
	case <-time.After(0):
	}
	release() // the stop goes on without its caller
	<-s.pool.Stopped
}

// TestALongCallOutlivesTheLimitOfItsBody: a deadline for reading that is left
// standing would look like a caller who left.
func TestALongCallOutlivesTheLimitOfItsBody(t *testing.T) {
	t.Parallel()
	s := serve(t, me(), nil)
	release := s.pool.Hold()
	time.AfterFunc(bodyTime+time.Second/2, release)
	if err := s.client.Call(soon(t), "stop", nil, nil); err != nil {
		t.Error(err)
	}
}
