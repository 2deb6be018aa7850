package master

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func TestAHeaderIsRecognizedUnderItsKeyOnly(t *testing.T) {
	one, err := newHeadHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := newHeadHash(nil)
	again, err := newHeadHash(one.key[:])
	if err != nil {
		t.Fatal(err)
	}
	block := request("/a/b?c")
	if one.sum(block) != again.sum(block) || one.sum(block) != one.sum(bytes.Clone(block)) {
		t.Error("the same header is not recognized")
	}
	if one.sum(block) == other.sum(block) {
		t.Error("the key makes no difference")
	}
	for i := range block {
		changed := bytes.Clone(block)
		changed[i] ^= 0x80
		if one.sum(changed) == one.sum(block) {
			t.Errorf("a change at %d makes no difference", i)
		}
	}
	if _, err := newHeadHash([]byte("short")); err == nil {
		t.Error("a short key is taken")
	}
}

// The two blocks of each pair have the same XXH64 under every other seed: what
// the first differing word does to a lane the second undoes.
func TestBlocksMadeToCollideDoNot(t *testing.T) {
	const prime1, prime2 uint64 = 11400714785074694791, 14029467366897019727
	inverse := prime2 // of prime2, by Newton
	for range 6 {
		inverse *= 2 - prime2*inverse
	}
	undo := uint64(1) << 30
	undo *= prime1
	undo *= inverse
	h, err := newHeadHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		a := make([]byte, 128)
		for i := range a {
			a[i] = byte(rand.Uint32())
		}
		b := bytes.Clone(a)
		b[7] ^= 0x80
		binary.LittleEndian.PutUint64(b[32:], binary.LittleEndian.Uint64(b[32:])-undo)
		if h.sum(a) == h.sum(b) {
			t.Fatal("they do")
		}
	}
}
