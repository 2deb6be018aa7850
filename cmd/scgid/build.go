package main

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
)

// buildID tells the running program from every other build, also of the same
// version: by the Go toolchain's own mark of the program's content, or, where
// a packager has left that out, by the content.
func buildID() (string, error) {
	// The file may be replaced or gone: this is the one that runs.
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer f.Close()
	if id := goBuildID(f); id != "" {
		// ACTION/.../CONTENT: the last part is of what was linked.
		return id[strings.LastIndexByte(id, '/')+1:], nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, 1<<62)); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:15]), nil
}

// goBuildID reads the note that the Go linker writes; "" if there is none.
func goBuildID(r io.ReaderAt) string {
	file, err := elf.NewFile(r)
	if err != nil {
		return ""
	}
	note := file.Section(".note.go.buildid")
	if note == nil || note.Size > 4096 {
		return ""
	}
	b, err := note.Data()
	if err != nil {
		return ""
	}
	id, _ := noteText(b, file.ByteOrder)
	return id
}

var errNote = errors.New("not a note of Go")

// noteText returns the description in an ELF note of the owner Go: sizes of
// name and description, a type, and both, padded to four bytes.
func noteText(b []byte, order binary.ByteOrder) (string, error) {
	if len(b) < 16 {
		return "", errNote
	}
	name, size := order.Uint32(b), order.Uint32(b[4:])
	if name != 4 || !bytes.Equal(b[12:16], []byte("Go\x00\x00")) || uint64(size) > uint64(len(b)-16) {
		return "", errNote
	}
	return string(b[16 : 16+size]), nil
}
