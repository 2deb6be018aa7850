package worker

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// notSent are header fields that a CGI reply must not have: Status is written
// from the code, and the others are about a connection that is not ours.
// Web servers do not decode a Transfer-Encoding.
var notSent = map[string]bool{
	"Connection":        true,
	"Keep-Alive":        true,
	"Proxy-Connection":  true,
	"Status":            true,
	"Te":                true,
	"Trailer":           true,
	"Transfer-Encoding": true,
	"Upgrade":           true,
}

// makeHead writes the status line and the handler's fields; what the handler
// changes later comes too late, as in net/http. http.Header.WriteSubset leaves
// out names that are not tokens and makes line ends in values spaces.
func (w *reply) makeHead() {
	fields := canonical(w.header)
	if err := w.readLength(fields); err != nil {
		w.log.Printf("bad Content-Length %q, ignoring it", fields.Get("Content-Length"))
		fields.Del("Content-Length")
	}
	_, typed := fields["Content-Type"]
	w.typed = typed || fields.Get("Content-Encoding") != "" || w.bodiless()

	head := bytes.NewBuffer(make([]byte, 0, headSize))
	head.WriteString("Status: ")
	head.WriteString(strconv.Itoa(w.code))
	head.WriteString(" ")
	head.WriteString(statusText(w.code))
	head.WriteString("\r\n")
	fields.WriteSubset(head, notSent)
	w.head = head.Bytes()
	for i, c := range w.head {
		if c == 0 {
			w.head[i] = ' '
		}
	}
}

// headSize has room for the head of most replies, in bytes.
const headSize = 512

// canonical returns h with all names spelled as notSent and http.Header.Get
// want them, which those are not that a handler put into the map by itself. It
// is the handler's own map where nothing of that is to be changed.
func canonical(h http.Header) http.Header {
	if isFinal(h) {
		return h
	}
	fields := make(http.Header, len(h))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		key := http.CanonicalHeaderKey(name)
		fields[key] = append(fields[key], h[name]...)
	}
	return fields
}

// isFinal tells whether all names are canonical, and readLength has nothing to
// change.
func isFinal(h http.Header) bool {
	for name := range h {
		if name == "Content-Length" || http.CanonicalHeaderKey(name) != name {
			return false
		}
	}
	return true
}

// readLength takes the handler's Content-Length. 204 has none (RFC 9110, 8.6).
func (w *reply) readLength(fields http.Header) error {
	w.length = -1
	value := fields.Get("Content-Length")
	if value == "" || w.code == http.StatusNoContent {
		delete(fields, "Content-Length") // never the handler's map; see isFinal
		return nil
	}
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil {
		return err
	}
	fields.Set("Content-Length", value)
	w.length = int64(n)
	return nil
}

// addHead adds a field to a head that was not sent.
func (w *reply) addHead(name, value string) {
	w.head = append(append(append(append(w.head, name...), ": "...), value...), "\r\n"...)
}

func statusText(code int) string {
	if text := http.StatusText(code); text != "" {
		return text
	}
	return "Status " + strconv.Itoa(code)
}
