package link

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

var parseTests = []struct {
	packet string
	want   Message
}{
	{"READY=1", Message{Ready: true}},
	{"READY=1\nSLOTS=4096\nDUMPSIGNAL=USR2\n", Message{Ready: true, Slots: 4096, DumpSignal: []byte("USR2")}},
	{"READY=1\nPAGE=1", Message{Ready: true, Page: true}},
	{"DONE=0", Message{HasDone: true}},
	{"DONE=7\nCODE=200\nBYTES=5\nCUT=1", Message{HasDone: true, Done: 7, Code: 200, Bytes: 5, Cut: true}},
	{"DONE=7\nCODE=200\nBYTES=4611686018427387904", Message{HasDone: true, Done: 7, Code: 200, Bytes: 1 << 62}},
	{"STATUS=a=b", Message{Status: []byte("a=b")}},
	{"STATUS=", Message{Status: []byte{}}},
	{"FAILED=no module", Message{Failed: []byte("no module")}},
	{"EXTEND=3 1500000", Message{Extend: 3, ExtendBy: 1500 * time.Millisecond}},
	{"X_NEW=1\nDONE=9", Message{HasDone: true, Done: 9}},
}

func TestParseReadsEachKey(t *testing.T) {
	for _, test := range parseTests {
		m, err := Parse([]byte(test.packet))
		if err != nil {
			t.Errorf("%q: %v", test.packet, err)
		} else if !equal(m, test.want) {
			t.Errorf("%q: %+v, want %+v", test.packet, m, test.want)
		}
	}
}

func equal(a, b Message) bool {
	same := bytes.Equal(a.DumpSignal, b.DumpSignal) && bytes.Equal(a.Status, b.Status) && bytes.Equal(a.Failed, b.Failed)
	return same && a.Ready == b.Ready && a.Page == b.Page && a.Slots == b.Slots && a.HasDone == b.HasDone && a.Done == b.Done &&
		a.Code == b.Code && a.Bytes == b.Bytes && a.Cut == b.Cut && a.Extend == b.Extend && a.ExtendBy == b.ExtendBy
}

func TestParseRefusesViolations(t *testing.T) {
	for _, packet := range []string{
		"", "\n\n", "READY", "=1", "READY=0", "READY=", "X_ONLY=1", "DONE=", "DONE=-1", "DONE=+1", "DONE=1 ", "DONE=0x1",
		"DONE=12345678901234567890", "DONE=1\x00", "CODE=1000", "CODE=abc", "CUT=", "CUT=0", "BYTES=-1", "BYTES=4611686018427387905",
		"SLOTS=0", "SLOTS=4097", "PAGE=0", "PAGE=", "DUMPSIGNAL=", "EXTEND=1", "EXTEND=0 1", "EXTEND=1 86400000001", "EXTEND=1  1",
		"DONE=1\nrubbish", strings.Repeat("x", MaxMessage),
	} {
		_, err := Parse([]byte(packet))
		var violation *ParseError
		if !errors.As(err, &violation) {
			t.Errorf("%.40q: error %v, want a *ParseError", packet, err)
		} else if len(violation.Reason) > 400 {
			t.Errorf("%.40q: the reason has %d bytes", packet, len(violation.Reason))
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	for _, test := range parseTests {
		packet := []byte(test.packet)
		n := testing.AllocsPerRun(100, func() {
			if _, err := Parse(packet); err != nil {
				t.Error(err)
			}
		})
		if n != 0 {
			t.Errorf("%q: %v allocations", test.packet, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, test := range parseTests {
		f.Add([]byte(test.packet))
	}
	f.Add([]byte("SLOTS=\nREADY\n=="))
	f.Fuzz(func(t *testing.T, packet []byte) {
		m, err := Parse(packet)
		var violation *ParseError
		if err != nil && !errors.As(err, &violation) {
			t.Fatalf("error %v is not a *ParseError", err)
		}
		if err == nil && (m.Slots < 0 || m.Slots > MaxSlots || m.Code < 0 || m.Code > 999 || m.Bytes < 0 ||
			m.ExtendBy < 0 || m.ExtendBy > 24*time.Hour) {
			t.Fatalf("%q: out of bounds: %+v", packet, m)
		}
	})
}

func FuzzParseConn(f *testing.F) {
	f.Add([]byte("CONN=1\nWAITED=2"), uint64(1), int64(2000))
	f.Add([]byte("WAITED=9999999999999999999\nCONN=9999999999999999999"), uint64(1<<63), int64(-1))
	f.Add([]byte("CONN=0"), uint64(0), int64(1<<62))
	f.Add([]byte("CONN=1\nSLOT=126"), uint64(126), int64(0))
	f.Fuzz(func(t *testing.T, packet []byte, id uint64, waited int64) {
		if got, wait, slot, err := parseConn(packet); err == nil && (got == 0 || wait < 0 || slot < NoSlot || slot >= PageSlots) {
			t.Fatalf("%q: connection %d waited %v, slot %d", packet, got, wait, slot)
		}
		slot := int(id%(PageSlots+1)) - 1
		id = id%1e18 + 1
		wrote := appendConn(nil, id, time.Duration(waited), slot)
		if len(wrote) > len(Sender{}.text) {
			t.Fatalf("%q does not fit a Sender", wrote)
		}
		got, wait, gotSlot, err := parseConn(wrote)
		want := max(0, time.Duration(waited)).Truncate(time.Microsecond)
		if err != nil || got != id || wait != want || gotSlot != slot {
			t.Fatalf("%q read as connection %d, waited %v, slot %d, error %v", wrote, got, wait, gotSlot, err)
		}
	})
}
