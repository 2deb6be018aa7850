package main

import (
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestTheBuildIsWhatTheToolchainSays(t *testing.T) {
	out, err := exec.Command(need(t, "go"), "tool", "buildid", scgidBuild(t, "one")).Output()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(scgidBuild(t, "one"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := goBuildID(f); got == "" || got != strings.TrimSpace(string(out)) {
		t.Errorf("got %q, want %q", got, out)
	}
}

func TestNotesThatAreNotWhatTheySayAreNoBuild(t *testing.T) {
	note := func(name, size uint32, text string) []byte {
		b := binary.LittleEndian.AppendUint32(nil, name)
		b = binary.LittleEndian.AppendUint32(b, size)
		b = binary.LittleEndian.AppendUint32(b, 4)
		return append(b, text...)
	}
	if got, err := noteText(note(4, 3, "Go\x00\x00abc"), binary.LittleEndian); got != "abc" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, b := range [][]byte{nil, note(4, 3, "Go"), note(4, 4, "Go\x00\x00abc"), note(4, ^uint32(0), "Go\x00\x00abc"), note(4, 3, "GNU\x00abc")} {
		if got, err := noteText(b, binary.LittleEndian); err == nil {
			t.Errorf("%q: %q", b, got)
		}
	}
}
