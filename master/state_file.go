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

	"golang.org/x/sys/unix"
)

// A state travels in a sealed memfd: a word to know it by, the length of what
// follows, its SHA-256, and JSON.
const (
	stateMagic = "scgidST\n"
	stateHead  = len(stateMagic) + 8 + sha256.Size

	// maxState bounds it, in bytes of JSON. A connection takes some 500.
	maxState = 64 << 20

	stateSeals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
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
		return nil, errors.New("it is no state of a master")
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

// seal puts an encoded state into a sealed memfd; the caller owns the
// descriptor, which is close-on-exec.
func seal(state []byte) (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	// Where the flag is known a machine may be set to insist on it.
	fd, err := unix.MemfdCreate("scgid-handover", flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("scgid-handover", flags)
	}
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	for done := 0; done < len(state) && err == nil; {
		var n int
		n, err = unix.Pwrite(fd, state[done:], int64(done))
		done += max(n, 0)
		if err == unix.EINTR {
			err = nil
		}
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, stateSeals)
	}
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("write to memfd", err)
	}
	return fd, nil
}

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
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&stateSeals != stateSeals {
		return nil, errors.New("it is no sealed memory")
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if stat.Size > maxState+int64(stateHead) {
		return nil, fmt.Errorf("it has %d bytes, at most %d are possible", stat.Size, maxState)
	}
	b := make([]byte, stat.Size)
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
