package bus

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"time"
)

// Bounds of messages from the bus. Calls come from anyone, and the largest
// that means anything to us is far smaller; replies come from the bus itself
// and from polkit.
const (
	callMax  = 16 << 10
	replyMax = 1 << 20
)

// writeLimit is how long the bus may take to take what we write.
const writeLimit = 30 * time.Second

// A wire is the socket as godbus sees it. What no well-behaved caller sends is
// stopped here: godbus decodes any type to any depth, at many times its size in
// memory, and ends the connection at a type that it cannot decode, such as a
// dictionary of signatures. Any user of the bus could send that. So a wire hands
// out whole messages that have passed.
//
// Not being one of godbus's own transports, it never negotiates the passing of
// descriptors: the bus then refuses messages with descriptors to us.
type wire struct {
	raw    net.Conn
	in     *bufio.Reader
	framed bool   // set once, before messages are read
	rest   []byte // of a message, to be read yet

	// refuse answers a call that was stopped; it runs in the reader.
	refuse func(sender string, serial uint32)
}

func newWire(raw net.Conn, refuse func(string, uint32)) *wire {
	return &wire{raw: raw, in: bufio.NewReader(raw), refuse: refuse}
}

func (w *wire) Close() error { return w.raw.Close() }

// Write writes. After BEGIN come messages, also from the other side; godbus
// starts to read them after that.
func (w *wire) Write(p []byte) (int, error) {
	if !w.framed && bytes.Equal(p, []byte("BEGIN\r\n")) {
		w.framed = true
	}
	if err := w.raw.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return 0, err
	}
	return w.raw.Write(p)
}

func (w *wire) Read(p []byte) (int, error) {
	if !w.framed {
		return w.in.Read(p)
	}
	for len(w.rest) == 0 {
		var err error
		if w.rest, err = w.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

// Message types, of the D-Bus specification.
const (
	typeCall   = 1
	typeReply  = 2
	typeError  = 3
	typeSignal = 4
)

var errFrame = errors.New("malformed D-Bus message")

// next reads one message and returns it if it may pass, else nil.
func (w *wire) next() ([]byte, error) {
	var fixed [16]byte
	if _, err := io.ReadFull(w.in, fixed[:]); err != nil {
		return nil, err
	}
	order, err := orderOf(fixed[0])
	if err != nil {
		return nil, err
	}
	body, header := int64(order.Uint32(fixed[4:])), int64(order.Uint32(fixed[12:]))
	if header > 1<<26 || body > 1<<27 {
		return nil, errFrame
	}
	header = (header + 7) &^ 7
	limit := int64(replyMax)
	if fixed[1] == typeCall || fixed[1] == typeSignal {
		limit = callMax
	}
	fixed[2] &= 7 // flags to come must be ignored, and godbus would not
	if header > callMax {
		// The sender stands in there: this one gets no answer.
		return nil, w.discard(header + body)
	}
	msg := make([]byte, 16+header)
	copy(msg, fixed[:])
	if _, err := io.ReadFull(w.in, msg[16:]); err != nil {
		return nil, err
	}
	if 16+header+body > limit {
		err := w.discard(body)
		w.stop(msg, order)
		return nil, err
	}
	msg = append(msg, make([]byte, body)...)
	if _, err := io.ReadFull(w.in, msg[16+header:]); err != nil {
		return nil, err
	}
	if !passes(msg, order, msg[16+header:]) {
		w.stop(msg, order)
		return nil, nil
	}
	return msg, nil
}

func (w *wire) discard(n int64) error {
	_, err := io.CopyN(io.Discard, w.in, n)
	return err
}

// stop answers the message, if it is a call, that it is refused.
func (w *wire) stop(msg []byte, order binary.ByteOrder) {
	h, ok := parseHeader(msg, order)
	if ok && msg[1] == typeCall && h.sender != "" {
		w.refuse(h.sender, order.Uint32(msg[8:]))
	}
}

func orderOf(mark byte) (binary.ByteOrder, error) {
	switch mark {
	case 'l':
		return binary.LittleEndian, nil
	case 'B':
		return binary.BigEndian, nil
	}
	return nil, errFrame
}

// passes says whether godbus may have the message.
func passes(msg []byte, order binary.ByteOrder, body []byte) bool {
	h, ok := parseHeader(msg, order)
	if !ok {
		return false
	}
	switch msg[1] {
	case typeCall:
		return simple(h.signature, body, order)
	case typeSignal:
		// We listen to nobody else.
		return h.sender == busSender
	case typeReply, typeError:
		return h.sender == busSender || strings.Trim(h.signature, basic) == "" || h.signature == polkitReply
	}
	return false
}

// busSender is the sender of what the bus itself says, which is believed to be
// decodable; nobody else can have this name.
const busSender = "org.freedesktop.DBus"

// polkitReply is what CheckAuthorization returns, the one reply with containers
// that we ask others for.
const polkitReply = "(bba{ss})"

// basic are the types that calls of ours are made of.
const basic = "ybnqiuxtdso"

// simple says whether a body has basic types only, or is that of
// Properties.Set with a basic value.
func simple(signature string, body []byte, order binary.ByteOrder) bool {
	if strings.Trim(signature, basic) == "" {
		return true
	}
	c := cursor{data: body, order: order}
	c.text()
	c.text()
	value := c.signature()
	return signature == "ssv" && !c.bad && len(value) == 1 && strings.Contains(basic, value)
}

// A head is what the judgement needs of a header.
type head struct{ sender, signature string }

// parseHeader reads the header fields; msg holds at least all of them.
func parseHeader(msg []byte, order binary.ByteOrder) (h head, ok bool) {
	end := 16 + int(order.Uint32(msg[12:]))
	if end > len(msg) {
		return h, false
	}
	c := cursor{data: msg[:end], at: 16, order: order}
	for c.align(8); c.at < end && !c.bad; c.align(8) {
		code := c.byte()
		var text string
		switch c.signature() {
		case "s", "o":
			text = c.text()
		case "g":
			text = c.signature()
		case "u":
			c.number()
		default:
			return h, false
		}
		switch code {
		case 7:
			h.sender = text
		case 8:
			h.signature = text
		}
	}
	return h, !c.bad
}

// A cursor reads basic values; bad is set when one is missing.
type cursor struct {
	data  []byte
	at    int
	order binary.ByteOrder
	bad   bool
}

func (c *cursor) align(n int) { c.at = (c.at + n - 1) / n * n }

func (c *cursor) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.data)-c.at {
		c.bad = true
		return make([]byte, 4)
	}
	c.at += n
	return c.data[c.at-n : c.at]
}

func (c *cursor) byte() byte { return c.take(1)[0] }

func (c *cursor) number() uint32 {
	c.align(4)
	return c.order.Uint32(c.take(4))
}

func (c *cursor) text() string {
	b := c.take(int(c.number()))
	c.take(1)
	return string(b)
}

func (c *cursor) signature() string {
	b := c.take(int(c.byte()))
	c.take(1)
	return string(b)
}
