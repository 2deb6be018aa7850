package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A fakeJournal takes entries as the journal does.
type fakeJournal struct {
	t    *testing.T
	fd   int
	path string
}

func newFakeJournal(t *testing.T) *fakeJournal {
	t.Helper()
	return newFakeJournalAt(t, filepath.Join(t.TempDir(), "socket"))
}

func newFakeJournalAt(t *testing.T, path string) *fakeJournal {
	t.Helper()
	j := &fakeJournal{t: t, path: path}
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if j.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(j.fd, &unix.SockaddrUnix{Name: j.path}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(j.fd) })
	return j
}

// log is a log to it, as of a program whose stderr is the journal; what goes
// to stderr all the same goes to rest.
func (j *fakeJournal) log(rest io.Writer) logger {
	j.t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(2, &st); err != nil {
		j.t.Fatal(err)
	}
	j.t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	log := logTo(rest, j.path, "wiki", true)
	to := log.Handler().(queued).to.(*lines)
	if !log.journal || to.journal == nil {
		j.t.Fatal("the journal is not seen")
	}
	j.t.Cleanup(func() { unix.Close(to.journal.fd) })
	return log
}

// entry is the next one, by field; file says that it came as one.
func (j *fakeJournal) entry() (fields map[string]string, file bool) {
	j.t.Helper()
	buf, oob := make([]byte, 1<<20), make([]byte, 100)
	n, oobn, _, _, err := unix.Recvmsg(j.fd, buf, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		j.t.Fatal("no entry: ", err)
	}
	if oobn == 0 {
		return j.parse(buf[:n]), false
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		j.t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 || n != 0 {
		j.t.Fatalf("%d bytes, descriptors %v (%v)", n, fds, err)
	}
	f := os.NewFile(uintptr(fds[0]), "entry")
	defer f.Close()
	const all = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || seals != all {
		j.t.Errorf("the journal would not trust it: seals %#x, %v", seals, err)
	}
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		j.t.Fatal(err)
	}
	return j.parse(data), true
}

func (j *fakeJournal) parse(data []byte) map[string]string {
	j.t.Helper()
	fields := map[string]string{}
	for len(data) > 0 {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		name, value, simple := bytes.Cut(line, []byte("="))
		if !simple && len(rest) >= 8 {
			n := binary.LittleEndian.Uint64(rest)
			if rest = rest[8:]; n >= uint64(len(rest)) || rest[n] != '\n' {
				j.t.Fatalf("the value of %s has %d bytes, of %d", name, n, len(rest))
			}
			value, rest = rest[:n], rest[n+1:]
		}
		if _, twice := fields[string(name)]; !ok || twice {
			j.t.Fatalf("field %s in %q", name, data)
		}
		fields[string(name)] = string(value)
		data = rest
	}
	return fields
}

// flush waits until the log's lines are written.
func flush(t *testing.T, log logger) {
	t.Helper()
	if !log.Flush(10 * time.Second) {
		t.Fatal("the log is not written")
	}
}

// A visit is a request as its line is logged: a value with words for people and
// fields for machines.
type visit string

func (r visit) String() string { return fmt.Sprintf("GET %q", string(r)) }

func (r visit) LogValue() slog.Value {
	return slog.GroupValue(slog.String("method", "GET"), slog.String("uri", string(r)))
}

func TestTheJournalHasALineAndItsFields(t *testing.T) {
	j := newFakeJournal(t)
	var rest bytes.Buffer
	log := j.log(&rest)
	common := map[string]string{"SYSLOG_IDENTIFIER": "scgid", "SCGID_APP": "wiki"}
	for _, test := range []struct {
		say  func()
		want map[string]string
	}{
		{func() { log.Info("worker is ready", "worker", uint64(3), "pid", 17, "state", "all idle") },
			map[string]string{"MESSAGE": `worker is ready worker=3 pid=17 state="all idle"`, "PRIORITY": "6",
				"SCGID_WORKER": "3", "SCGID_PID": "17", "SCGID_STATE": "all idle"}},
		{func() { log.Warn("lost", "request", 9, "uri", "/a\nb") },
			map[string]string{"MESSAGE": `lost request=9 uri="/a\nb"`, "PRIORITY": "4", "SCGID_REQUEST": "9", "SCGID_URI": "/a\nb"}},
		{func() { log.Error("two\nlines", "err", errors.New("no\n")) },
			map[string]string{"MESSAGE": "two\nlines err=\"no\\n\"", "PRIORITY": "3", "SCGID_ERR": "no\n"}},
		// What the journal would not take for a name is text only.
		{func() {
			log.Debug("odd", "a b", 1, "\u00e9", 2, "x=y\nMESSAGE", 3, "app", "other", strings.Repeat("n", 100), 4, "next_try_in", 5)
		}, map[string]string{"MESSAGE": "odd a b=1 \u00e9=2 x=y\nMESSAGE=3 app=other " + strings.Repeat("n", 100) + "=4 next_try_in=5", "PRIORITY": "7", "SCGID_NEXT_TRY_IN": "5"}},
		// A group is for machines.
		{func() { log.Info("GET / 200", slog.Group("access", "method", "GET", "worker", 1)) },
			map[string]string{"MESSAGE": "GET / 200", "PRIORITY": "6", "SCGID_METHOD": "GET", "SCGID_WORKER": "1"}},
		{func() { log.With("generation", 2).Info("x", "k", "v") },
			map[string]string{"MESSAGE": "x generation=2 k=v", "PRIORITY": "6", "SCGID_GENERATION": "2", "SCGID_K": "v"}},
		{func() { log.With("generation", 2).WithGroup("access").With("method", "GET").Info("x", "k", "v") },
			map[string]string{"MESSAGE": "x generation=2", "PRIORITY": "6", "SCGID_GENERATION": "2", "SCGID_METHOD": "GET", "SCGID_K": "v"}},
		// What tells a request is made to words and fields late.
		{func() { log.LogAttrs(t.Context(), slog.LevelInfo, "", slog.Any("access", visit("/a b"))) },
			map[string]string{"MESSAGE": `GET "/a b"`, "PRIORITY": "6", "SCGID_METHOD": "GET", "SCGID_URI": "/a b"}},
	} {
		test.say()
		flush(t, log)
		maps.Copy(test.want, common)
		got, file := j.entry()
		if !maps.Equal(got, test.want) || file {
			t.Errorf("got  %q\nwant %q", got, test.want)
		}
	}
	if rest.Len() > 0 {
		t.Errorf("stderr has %q", rest.String())
	}
}

func TestALineTooLongForADatagramIsWholeInTheJournal(t *testing.T) {
	j := newFakeJournal(t)
	var rest bytes.Buffer
	log := j.log(&rest)
	long := strings.Repeat("x", 3<<20)
	log.Info(long, "k", "v")
	flush(t, log)
	got, file := j.entry()
	if !file || got["MESSAGE"] != long+" k=v" || got["SCGID_K"] != "v" || rest.Len() > 0 {
		t.Errorf("a file: %v; %d bytes of message, %q; stderr has %d bytes", file, len(got["MESSAGE"]), got["SCGID_K"], rest.Len())
	}
}

func TestALineThatTheJournalDoesNotTakeGoesToStderr(t *testing.T) {
	j := newFakeJournal(t)
	var rest bytes.Buffer
	log := j.log(&rest)
	if err := os.Remove(j.path); err != nil {
		t.Fatal(err)
	}
	log.Warn("it happened", "worker", 3)
	log.Info("GET / 200", slog.Group("access", "method", "GET"))
	flush(t, log)
	if want := "<4>it happened worker=3\n<6>GET / 200\n"; rest.String() != want {
		t.Errorf("got %q, want %q", rest.String(), want)
	}
}

// A program's stderr may be a file although its parent's was the journal.
func TestStderrThatIsNotTheJournalHasText(t *testing.T) {
	j := newFakeJournal(t)
	for _, stream := range []string{"", "1:1", "nonsense"} {
		t.Setenv("JOURNAL_STREAM", stream)
		var text bytes.Buffer
		log := logTo(&text, j.path, "wiki", false)
		log.Warn("it happened", "worker", 3)
		flush(t, log)
		if _, line, _ := strings.Cut(text.String(), " "); log.journal || line != "scgid[wiki]: warn: it happened worker=3\n" {
			t.Errorf("JOURNAL_STREAM=%s: got %q", stream, text.String())
		}
	}
}
