package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"runtime/debug"
	"strings"
)

// buildID tells the running program from every other build, also of the same
// version: by the Go toolchain's own mark of the program's content, or, where
// a packager has left that out, by what the program knows of its build.
func buildID() (string, error) {
	for _, note := range ownNotes() {
		if id := goNote(note, binary.NativeEndian); id != "" {
			// ACTION/.../CONTENT: the last part is of what was linked.
			return id[strings.LastIndexByte(id, '/')+1:], nil
		}
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", errors.New("the program does not know how it was built")
	}
	sum := sha256.Sum256([]byte(version + "\n" + info.String()))
	return base64.RawURLEncoding.EncodeToString(sum[:15]), nil
}

// goNoteType is the type of the note that has the build's mark.
const goNoteType = 4

// goNote returns the mark among the notes in b, "" if there is none. A note has
// sizes of name and description, a type, and both, each padded to four bytes.
func goNote(b []byte, order binary.ByteOrder) string {
	for len(b) >= 12 {
		name, size, kind := uint64(order.Uint32(b)), uint64(order.Uint32(b[4:])), order.Uint32(b[8:])
		begin := 12 + (name+3)&^3
		end := begin + (size+3)&^3
		if begin+size > uint64(len(b)) {
			return ""
		}
		if kind == goNoteType && string(b[12:12+name]) == "Go\x00\x00" {
			return string(b[begin : begin+size])
		}
		b = b[min(end, uint64(len(b))):]
	}
	return ""
}
