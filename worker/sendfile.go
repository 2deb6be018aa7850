package worker

import (
	"errors"
	"io"
	"net/http"
	"os"

	"golang.org/x/sys/unix"
)

// sniffed is how much http.DetectContentType looks at.
const sniffed = 512

// ReadFrom implements io.ReaderFrom: a regular file, also within an
// io.LimitedReader, goes by sendfile(2). Go's own connections do that for TCP
// only, and web servers are mostly on a Unix socket.
func (w *reply) ReadFrom(src io.Reader) (total int64, err error) {
	plain := struct{ io.Writer }{w}
	if !w.isTyped() {
		total, err = io.CopyN(plain, src, sniffed)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
	n, err := w.sendFile(src)
	total += n
	if !errors.Is(err, errors.ErrUnsupported) {
		return total, err
	}
	n, err = io.Copy(plain, src)
	return total + n, err
}

// isTyped begins the reply, and tells whether its Content-Type is settled.
func (w *reply) isTyped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin(nil)
	return w.typed
}

// sendFile sends src if it is a regular file, else the error is
// errors.ErrUnsupported.
func (w *reply) sendFile(src io.Reader) (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.begin(nil); err != nil {
		return 0, err
	}
	limited, _ := src.(*io.LimitedReader)
	limit := int64(1<<63 - 1)
	if limited != nil {
		src, limit = limited.R, limited.N
	}
	file, ok := src.(*os.File)
	if !ok || w.method == http.MethodHead || !isRegular(file) {
		return 0, errors.ErrUnsupported
	}
	if err := w.send(nil); err != nil {
		return 0, err
	}
	room := limit
	if w.length >= 0 {
		room = min(limit, w.length-w.written)
	}
	w.beginSend(false, room)
	defer w.endSend()
	n, err := w.conn.sendFile(file, room)
	w.written += n
	w.bytes += n
	if limited != nil {
		limited.N -= n
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		w.err = err
	}
	if err == nil && n == room && room < limit && !atEnd(file) {
		err = http.ErrContentLength
	}
	return n, err
}

func isRegular(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// atEnd tells whether file has been read to its end.
func atEnd(f *os.File) bool {
	at, err := f.Seek(0, io.SeekCurrent)
	info, serr := f.Stat()
	return err == nil && serr == nil && at >= info.Size()
}

// sendFile sends up to limit bytes of file from where it stands. The error is
// errors.ErrUnsupported when the kernel cannot, and then nothing was sent.
func (c *Conn) sendFile(file *os.File, limit int64) (sent int64, err error) {
	from, err := file.SyscallConn()
	if err != nil {
		return 0, err
	}
	to, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := from.Control(func(in uintptr) {
		werr := to.Write(func(out uintptr) bool {
			sent, err = sendAll(int(out), int(in), sent, limit)
			return err != unix.EAGAIN
		})
		if werr != nil {
			err = werr
		}
	})
	if cerr != nil {
		return sent, cerr
	}
	if sent == 0 && (err == unix.EINVAL || err == unix.ENOSYS) {
		return 0, errors.ErrUnsupported
	}
	if errno, ok := err.(unix.Errno); ok {
		err = os.NewSyscallError("sendfile", errno)
	}
	return sent, err
}

// sendAll continues from sent to limit, to the end of the file or to an error.
func sendAll(out, in int, sent, limit int64) (int64, error) {
	for sent < limit {
		n, err := unix.Sendfile(out, in, nil, int(min(limit-sent, 1<<30)))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return sent, err
		}
		if n == 0 {
			break
		}
		sent += int64(n)
	}
	return sent, nil
}
