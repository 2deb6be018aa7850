package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
)

var watching = &control.Verb{Name: "events", Level: control.LevelRead, Doing: "watch events"}

// serveEvents sends what happens until the caller leaves, the pool ends the
// stream or the server ends. A caller that reads too slowly hears from the
// subscription what was dropped, and is cut off when it does not read at all. The
// reply's head says that the stream has begun.
func (s *Server) serveEvents(c *call) error {
	if err := c.allow(control.LevelRead, watching); err != nil {
		return err
	}
	if !s.streams.Acquire(c.who.UID) {
		return control.Errorf(control.CodeBusy, "too many callers watch events").
			WithHint("end another one, or try again")
	}
	defer s.streams.Release(c.who.UID)
	sub, err := s.pool.Subscribe(c.r.Context(), true)
	if err != nil {
		return err
	}
	defer sub.Close()

	out := &stream{call: c, sse: strings.Contains(c.r.Header.Get("Accept"), typeSSE)}
	out.last, _ = strconv.ParseUint(c.r.Header.Get("Last-Event-ID"), 10, 64)
	s.copyEvents(out, sub.C)
	return nil
}

func (s *Server) copyEvents(out *stream, events <-chan control.Event) {
	if out.begin() != nil {
		return
	}
	ticker := time.NewTicker(s.keepalive)
	defer ticker.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok || out.send(e) != nil {
				return
			}
		case <-ticker.C:
			if out.keepalive() != nil {
				return
			}
		case <-s.ended:
			return
		case <-out.r.Context().Done():
			return
		}
	}
}

// A stream writes events to one caller.
type stream struct {
	*call
	sse  bool
	last uint64 // Seq of the event before; 0 when a gap cannot be seen
}

func (s *stream) begin() error {
	contentType := typeNDJSON
	if s.sse {
		contentType = typeSSE
	}
	s.w.Header().Set("X-Accel-Buffering", "no") // so that nginx passes events on at once
	s.call.begin(http.StatusOK, contentType)
	return s.out.Flush()
}

// send writes e, and before it what is missing, unless the subscription has
// said that itself.
func (s *stream) send(e control.Event) error {
	if e.Kind == control.EventMissed {
		s.last = 0
		return s.write(e)
	}
	if s.last != 0 && e.Seq > s.last+1 {
		gap := control.Event{Seq: e.Seq - 1, Time: e.Time, Kind: control.EventMissed, Count: e.Seq - s.last - 1}
		if err := s.write(gap); err != nil {
			return err
		}
	}
	s.last = e.Seq
	return s.write(e)
}

func (s *stream) write(e control.Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if s.sse {
		return s.put(fmt.Appendf(nil, "id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Kind, line))
	}
	return s.put(append(line, '\n'))
}

// keepalive keeps proxies from taking a quiet stream for a dead one. NDJSON has
// no comment to send.
func (s *stream) keepalive() error {
	if !s.sse {
		return nil
	}
	return s.put([]byte(":\n\n"))
}

func (s *stream) put(b []byte) error {
	_ = s.out.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.out.Flush()
}
