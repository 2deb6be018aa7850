package python_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What a small request must be done with.
var smallRequest = map[string]float64{
	"recvmsg":  1, // the connection
	"recvfrom": 1, // the request
	"sendto":   2, // the reply, and DONE
	"shutdown": 1,
	"close":    1,
}

// A body that came with its header block costs a look for bytes behind it.
func TestASmallRequestTakesSixSystemCalls(t *testing.T) {
	for name, test := range map[string]struct {
		request string
		more    map[string]float64
	}{
		"without a body": {get("hello"), nil},
		"with a body":    {post("echo", "a=b"), map[string]float64{"recvfrom": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			few, many := countCalls(t, 100, test.request), countCalls(t, 600, test.request)
			for call, n := range many {
				calls := float64(n-few[call]) / 500
				want := smallRequest[call] + test.more[call]
				if calls > want+0.05 || calls < want-0.05 { // once a second signals are looked after
					t.Errorf("%s: %.2f a request, want %v", call, calls, want)
				}
			}
		})
	}
}

// countCalls returns how many system calls of each name a worker makes that
// answers n requests, from its start to its end.
func countCalls(t *testing.T, n int, request string) map[string]int {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		need(t, "strace")
	}
	counts := filepath.Join(t.TempDir(), "counts")
	w := launch(t, strace, "-f", "-c", "-o", counts, python(t), "-S", "../scgi_wsgi.py", "app:application")
	if w.ready = w.message(); w.ready == "" {
		t.Skipf("needs the right to trace: %s", w.stderr)
	}
	go w.receive()
	for range n {
		// The request is there before the connection is passed, as with the real master.
		client, fd := streamPair(t)
		if _, err := client.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		r, err := w.pass(fd)
		if err != nil {
			t.Fatal(err)
		}
		r.conn = client
		if reply := r.read(); !strings.HasPrefix(reply, "Status: 200 ") {
			t.Fatalf("reply %q\n%s", reply, w.stderr)
		}
		client.Close()
		r.wait()
	}
	w.silent()
	return readCounts(t, counts)
}

// readCounts reads strace's table: % time, seconds, usecs/call, calls, errors
// (may be blank), name.
func readCounts(t *testing.T, path string) map[string]int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	counts := map[string]int{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		column := strings.Fields(sc.Text())
		if len(column) < 5 || column[len(column)-1] == "total" {
			continue
		}
		if n, err := strconv.Atoi(column[3]); err == nil { // else it is a ruler
			counts[column[len(column)-1]] = n
		}
	}
	return counts
}
