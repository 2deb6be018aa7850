package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A journal is what journald has of one pool, whatever it knew of the process
// that wrote a line: it looks the unit up when it reads the line, and a short
// program has ended by then. The fields are those of cmd/scgid/journal.go and
// master/process/stream.go; see systemd.journal-fields(7).
type journal struct {
	pool string
	own  bool   // the pool is one of systemctl --user
	uid  string // whose lines are the pool's; empty: it is not known
}

// An alternative is a list of matches FIELD=VALUE, all of which a line has.
type alternative []string

// The uid of processes whose word on units is believed.
const serviceManager = "0"

// ofUnit are the lines of the pool's units, and those of systemd about them. It
// follows journalctl --unit.
func (j journal) ofUnit() []alternative {
	service, socket := unitOf(j.pool), strings.TrimSuffix(unitOf(j.pool), ".service")+".socket"
	if j.own {
		return []alternative{
			{"_SYSTEMD_USER_UNIT=" + service, "_UID=" + j.uid},
			{"USER_UNIT=" + service, "_UID=" + j.uid},
			{"USER_UNIT=" + socket, "_UID=" + j.uid},
		}
	}
	return []alternative{
		{"_SYSTEMD_UNIT=" + service},
		{"UNIT=" + service, "_UID=" + serviceManager},
		{"UNIT=" + socket, "_UID=" + serviceManager},
		{"OBJECT_SYSTEMD_UNIT=" + service, "_UID=" + serviceManager},
		{"COREDUMP_UNIT=" + service, "_UID=" + serviceManager},
	}
}

// mine are lines that name the pool themselves, which any user's may: they have to
// be the pool's user's.
func (j journal) mine(matches ...string) alternative {
	if j.uid != "" {
		matches = append(matches, "_UID="+j.uid)
	}
	return matches
}

// ofWorkers are the lines of workers with these numbers.
func (j journal) ofWorkers(ids []uint64) []alternative {
	all := make([]alternative, len(ids))
	for i, id := range ids {
		all[i] = j.mine("SYSLOG_IDENTIFIER=" + j.pool + "/w" + strconv.FormatUint(id, 10))
	}
	return all
}

// all are the lines of the pool, with workers of these numbers.
func (j journal) all(ids []uint64) []alternative {
	return append(append(j.ofUnit(), j.mine("SCGID_APP="+j.pool)), j.ofWorkers(ids)...)
}

// matches are the arguments of journalctl(1) for any of these.
func matches(all []alternative) []string {
	var args []string
	for i, a := range all {
		if i > 0 {
			args = append(args, "+")
		}
		args = append(args, a...)
	}
	return args
}

// workersMost is how many workers are looked for by their streams. The journal
// of a pool that recycles its workers has more names than a command line takes;
// of those left out, lines are found whose unit journald knew.
const workersMost = 1000

// workers are the numbers of the workers that the journal has something of, in
// their order.
func (j journal) workers(ctx context.Context) []uint64 {
	out, err := exec.CommandContext(ctx, "journalctl", "-q", "-F", "SYSLOG_IDENTIFIER").Output()
	if err != nil {
		return nil // the caller's journalctl says why
	}
	var ids []uint64
	for _, name := range strings.Split(string(out), "\n") {
		number, ok := strings.CutPrefix(name, j.pool+"/w")
		if id, err := strconv.ParseUint(number, 10, 64); ok && err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids[max(0, len(ids)-workersMost):]
}

// An entry is a line of the journal, as far as it is looked at.
type entry struct {
	at      time.Time
	who     string // SYSLOG_IDENTIFIER
	pid     string
	request string // SCGID_REQUEST
	text    string
	raw     []byte // as journalctl has it in JSON
}

// entries calls each for what journalctl prints, until it ends or ctx does.
func entries(ctx context.Context, args []string, each func(entry) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "journalctl", append([]string{"-q", "-o", "json", "--all"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if err = each(parseEntry(lines.Bytes())); err != nil {
			break
		}
	}
	cancel()
	_ = cmd.Wait() // what it has against its arguments is known by tests
	return err
}

// parseEntry reads an entry. Text that is not UTF-8 is an array of numbers; of
// a field that a line has several times, the first counts.
func parseEntry(raw []byte) entry {
	var fields map[string]any
	_ = json.Unmarshal(raw, &fields)
	text := func(name string) string {
		switch v := fields[name].(type) {
		case string:
			return v
		case []any:
			return byteText(v)
		}
		return ""
	}
	usec, _ := strconv.ParseInt(text("__REALTIME_TIMESTAMP"), 10, 64)
	return entry{time.UnixMicro(usec), text("SYSLOG_IDENTIFIER"), text("_PID"), text("SCGID_REQUEST"), text("MESSAGE"), slices.Clone(raw)}
}

func byteText(numbers []any) string {
	b := make([]byte, 0, len(numbers))
	for _, n := range numbers {
		switch n := n.(type) {
		case float64:
			b = append(b, byte(n))
		case string:
			return n
		}
	}
	return string(b)
}

// aboutRequest begins what scgi-cgi writes of a request.
var aboutRequest = regexp.MustCompile(`^(?:\S+: )?request (\d+): `)

// of says whether a line is about the request with this number: by its field, or
// by the words of scgi-cgi.
func (e entry) of(request string) bool {
	m := aboutRequest.FindStringSubmatch(e.text)
	return e.request == request || m != nil && m[1] == request
}

// entry prints a line as journalctl does.
func (s *screen) entry(e entry) {
	s.lines(e.at.Format("Jan 02 15:04:05 ")+e.who+"["+e.pid+"]: ", e.text)
}
