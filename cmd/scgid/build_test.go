package main

import (
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestTheBuildIsWhatTheToolchainSays(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(need(t, "go"), "tool", "buildid", self).Output()
	if err != nil {
		t.Fatal(err)
	}
	whole := strings.TrimSpace(string(out))
	if got, err := buildID(); err != nil || got == "" || got != whole[strings.LastIndexByte(whole, '/')+1:] {
		t.Errorf("got %q (%v), want the end of %q", got, err, whole)
	}
}

func TestNotesThatAreNotWhatTheySayAreNoBuild(t *testing.T) {
	note := func(name, size uint32, text string) []byte {
		b := binary.LittleEndian.AppendUint32(nil, name)
		b = binary.LittleEndian.AppendUint32(b, size)
		b = binary.LittleEndian.AppendUint32(b, 4)
		return append(b, text...)
	}
	good := note(4, 3, "Go\x00\x00abc")
	if got := goNote(good, binary.LittleEndian); got != "abc" {
		t.Errorf("%q", got)
	}
	if got := goNote(append(note(4, 5, "GNU\x00hello\x00\x00\x00"), good...), binary.LittleEndian); got != "abc" {
		t.Errorf("behind another: %q", got)
	}
	for _, b := range [][]byte{nil, note(4, 3, "Go"), note(4, 4, "Go\x00\x00abc"), note(4, ^uint32(0), "Go\x00\x00abc"), note(^uint32(0), 3, "Go\x00\x00abc"),
		note(4, 3, "GNU\x00abc"), note(0, 0, "")} {
		if got := goNote(b, binary.LittleEndian); got != "" {
			t.Errorf("%q: %q", b, got)
		}
	}
}
