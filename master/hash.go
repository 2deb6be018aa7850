package master

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
)

// A headHash recognizes a header block again: by GMAC, under a key of the
// pool. A client chooses much of a header and all of its body, and must not be
// able to make a body that passes for the header; fast hashes with a seed
// (XXH64, Murmur) have collisions that hold under any seed. The key is
// not a secret of this program's run alone: another program that continues with
// these connections gets it, see State.
type headHash struct {
	key [16]byte
	mac cipher.AEAD
	tag [16]byte // of the last sum; here so that none is allocated
}

// newHeadHash makes one with this key; nil is a new one.
func newHeadHash(key []byte) (*headHash, error) {
	h := &headHash{}
	if key == nil {
		rand.Read(h.key[:]) // crashes rather than fails
	} else if copy(h.key[:], key) != len(h.key) || len(key) != len(h.key) {
		return nil, fmt.Errorf("a key of %d bytes", len(key))
	}
	block, err := aes.NewCipher(h.key[:])
	if err != nil {
		return nil, err
	}
	h.mac, err = cipher.NewGCM(block)
	return h, err
}

// noNonce is the same for all: no tag ever leaves the loop.
var noNonce [12]byte

// sum returns the tag of b, or as much of it as fits.
func (h *headHash) sum(b []byte) uint64 {
	return binary.NativeEndian.Uint64(h.mac.Seal(h.tag[:0], noNonce[:], nil, b))
}
