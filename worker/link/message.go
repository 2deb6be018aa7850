package link

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// A Message is what a worker said in one packet. The slices are parts of the
// packet's buffer: copy what is to outlive it.
type Message struct {
	Ready      bool
	Slots      int    // connections the worker takes at a time; 0 when not said
	Page       bool   // it publishes in its page
	DumpSignal []byte // name without SIG, such as USR2

	HasDone bool
	Done    uint64 // id of the finished connection
	Code    int    // status of its reply, 0 when not said
	Bytes   int64  // length of its reply, 0 when not said
	Cut     bool   // its reply ended early

	Status []byte
	Failed []byte

	Extend   uint64 // id of the connection that wants more time
	ExtendBy time.Duration

	Preload []byte // level at which the sender is, or is about to be, a preloaded process
	Refused []byte // why the sender cannot be one
	Worker  uint64 // id of the worker that was asked for, and that Failed is about; else 0
}

// MaxSlots bounds SLOTS=.
const MaxSlots = 4096

// A ParseError is a violation of the protocol by the worker.
type ParseError struct{ Reason string }

func (e *ParseError) Error() string { return "protocol violation: " + e.Reason }

// Parse reads one packet of a worker. Its errors are of type *ParseError. It
// does not allocate unless it fails.
func Parse(packet []byte) (Message, error) {
	var m Message
	if len(packet) == 0 {
		return m, &ParseError{"an empty packet"}
	}
	known := false
	for len(packet) > 0 {
		var line []byte
		line, packet, _ = bytes.Cut(packet, newline)
		if len(line) == 0 {
			continue
		}
		key, value, ok := bytes.Cut(line, equals)
		if !ok || len(key) == 0 {
			return m, &ParseError{fmt.Sprintf("line %.40q is not KEY=VALUE", line)}
		}
		used, err := m.set(key, value)
		if err != nil {
			return m, err
		}
		known = known || used
	}
	if !known {
		return m, &ParseError{"a packet without a known key"}
	}
	return m, nil
}

var (
	newline = []byte("\n")
	equals  = []byte("=")
)

// set takes one line; used is false for a key this version does not know.
func (m *Message) set(key, value []byte) (used bool, err error) {
	var n uint64
	var ok bool
	switch string(key) {
	case "DONE":
		m.Done, ok = number(value)
		m.HasDone = true
	case "CODE":
		n, ok = bounded(value, 0, 999)
		m.Code = int(n)
	case "BYTES":
		n, ok = bounded(value, 0, 1<<62)
		m.Bytes = int64(n)
	case "CUT":
		m.Cut, ok = true, string(value) == "1"
	case "READY":
		m.Ready, ok = true, string(value) == "1"
	case "SLOTS":
		n, ok = bounded(value, 1, MaxSlots)
		m.Slots = int(n)
	case "PAGE":
		m.Page, ok = true, string(value) == "1"
	case "DUMPSIGNAL":
		m.DumpSignal, ok = value, len(value) > 0
	case "STATUS":
		m.Status, ok = value, true
	case "FAILED":
		m.Failed, ok = value, true
	case "EXTEND":
		ok = m.setExtend(value)
	default:
		return m.setPreload(key, value)
	}
	if !ok {
		return false, &ParseError{fmt.Sprintf("bad value %.40q of %s", value, key)}
	}
	return true, nil
}

// setExtend reads "<id> <usec>".
func (m *Message) setExtend(value []byte) bool {
	id, usec, ok := bytes.Cut(value, []byte(" "))
	if !ok {
		return false
	}
	n, ok := number(usec)
	if !ok || n > uint64(24*time.Hour/time.Microsecond) {
		return false
	}
	m.ExtendBy = time.Duration(n) * time.Microsecond
	m.Extend, ok = number(id)
	return ok && m.Extend != 0
}

// number reads 1 to 19 decimal digits and nothing else.
func number(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// bounded reads a number from least to most.
func bounded(b []byte, least, most uint64) (uint64, bool) {
	n, ok := number(b)
	return n, ok && n >= least && n <= most
}

// NoSlot is the slot of a connection that has no place in a page.
const NoSlot = -1

// appendConn writes the master's message about connection id, which waited so
// long for a worker, and has this slot of the worker's page.
func appendConn(dst []byte, id uint64, waited time.Duration, slot int) []byte {
	dst = append(dst, "CONN="...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, "\nWAITED="...)
	dst = strconv.AppendInt(dst, max(0, waited.Microseconds()), 10)
	if slot >= 0 {
		dst = strconv.AppendInt(append(dst, "\nSLOT="...), int64(slot), 10)
	}
	return dst
}

// parseConn reads the master's message.
func parseConn(packet []byte) (id uint64, waited time.Duration, slot int, err error) {
	slot = NoSlot
	for len(packet) > 0 {
		var line []byte
		line, packet, _ = bytes.Cut(packet, newline)
		key, value, _ := bytes.Cut(line, equals)
		n, ok := uint64(0), true
		switch string(key) {
		case "CONN":
			n, ok = number(value)
			id = n
		case "WAITED":
			n, ok = number(value)
			waited = time.Duration(min(n, 1<<53)) * time.Microsecond
		case "SLOT":
			n, ok = bounded(value, 0, PageSlots-1)
			slot = int(n)
		}
		if !ok {
			return 0, 0, NoSlot, &ParseError{fmt.Sprintf("bad value %.40q of %s", value, key)}
		}
	}
	if id == 0 {
		return 0, 0, NoSlot, &ParseError{"a packet without CONN="}
	}
	return id, waited, slot, nil
}
