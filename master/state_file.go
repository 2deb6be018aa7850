package master

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/scgid/scgid/master/memfd"
	"golang.org/x/sys/unix"
)

// A state travels in a sealed memfd: a word to know it by, the length of what
// follows, its SHA-256, and JSON.
const (
	stateMagic = "scgidST\n"
	stateHead  = len(stateMagic) + 8 + sha256.Size

	// maxState bounds it, in bytes of JSON. A connection takes some 500.
	maxState = 64 << 20
)

// encode returns st as it travels.
func (st *State) encode() ([]byte, error) {
	text, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	if len(text) > maxState {
		return nil, fmt.Errorf("the state has %d bytes, at most %d are possible", len(text), maxState)
	}
	return appendState(make([]byte, 0, stateHead+len(text)), text), nil
}

func appendState(b, text []byte) []byte {
	sum := sha256.Sum256(text)
	b = append(b, stateMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(text)))
	b = append(b, sum[:]...)
	return append(b, text...)
}

// decodeState reads what encode wrote, and nothing else.
func decodeState(b []byte) (*State, error) {
	if len(b) < stateHead || string(b[:len(stateMagic)]) != stateMagic {
		return nil, errors.New("it is not a state of a master")
	}
	n := binary.LittleEndian.Uint64(b[len(stateMagic):])
	text := b[stateHead:]
	if n != uint64(len(text)) {
		return nil, fmt.Errorf("it has %d bytes, not %d", len(text), n)
	}
	if sum := sha256.Sum256(text); !bytes.Equal(sum[:], b[stateHead-sha256.Size:stateHead]) {
		return nil, errors.New("its checksum is wrong")
	}
	return parseState(text)
}

// parseState wants every field to be known: one that is not would be lost.
func parseState(text []byte) (*State, error) {
	var of struct{ Format, Build, Version string }
	if err := json.Unmarshal(text, &of); err != nil {
		return nil, err
	}
	if of.Format != stateFormat {
		return nil, fmt.Errorf("version %.40q wrote it in format %.40q, this program reads format %q", of.Version, of.Format, stateFormat)
	}
	st := &State{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(st); err != nil {
		return nil, fmt.Errorf("version %.40q wrote it: %w", of.Version, err)
	}
	return st, nil
}

// seal puts an encoded state into a sealed file in memory; the caller owns the
// descriptor, which is close-on-exec.
func seal(state []byte) (int, error) { return memfd.New("scgid-handover", state, memfd.Constant) }

// ReadState reads the state in fd, a sealed memfd, which it borrows and leaves
// as it is: another program may read it again.
func ReadState(fd int) (*State, error) {
	st, err := readState(fd)
	if err != nil {
		return nil, fmt.Errorf("cannot read the state: %w", err)
	}
	return st, nil
}

func readState(fd int) (*State, error) {
	size, err := memfd.Check(fd, memfd.Constant)
	if err != nil {
		return nil, err
	}
	if size > maxState+int64(stateHead) {
		return nil, fmt.Errorf("it has %d bytes, at most %d are possible", size, maxState)
	}
	b := make([]byte, size)
	for done := 0; done < len(b); {
		n, err := unix.Pread(fd, b[done:], int64(done))
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, os.NewSyscallError("read", err)
		}
		done += n
	}
	return decodeState(b)
}
