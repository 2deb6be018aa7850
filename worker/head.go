package worker

import (
	"bytes"
	"net/http"
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
// out names that are no tokens and makes line ends in values spaces.
func (w *reply) makeHead() {
	if err := w.readLength(); err != nil {
		w.log.Printf("bad Content-Length %q, ignoring it", w.header.Get("Content-Length"))
		w.header.Del("Content-Length")
	}
	_, typed := w.header["Content-Type"]
	w.typed = typed || w.header.Get("Content-Encoding") != "" || w.bodiless()

	var head bytes.Buffer
	head.WriteString("Status: " + strconv.Itoa(w.code) + " " + statusText(w.code) + "\r\n")
	w.header.WriteSubset(&head, notSent)
	w.head = bytes.ReplaceAll(head.Bytes(), []byte{0}, []byte{' '})
}

// readLength takes the handler's Content-Length. 204 has none (RFC 9110, 8.6).
func (w *reply) readLength() error {
	w.length = -1
	value := w.header.Get("Content-Length")
	if value == "" || w.code == http.StatusNoContent {
		w.header.Del("Content-Length")
		return nil
	}
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil {
		return err
	}
	w.header.Set("Content-Length", value)
	w.length = int64(n)
	return nil
}

// addHead adds a field to a head that was not sent.
func (w *reply) addHead(name, value string) {
	w.head = append(w.head, name+": "+value+"\r\n"...)
}

func statusText(code int) string {
	if text := http.StatusText(code); text != "" {
		return text
	}
	return "Status " + strconv.Itoa(code)
}
