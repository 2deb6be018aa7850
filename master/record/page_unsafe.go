package record

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// A page is the record as it lies in memory: words in little-endian order.
type page [size / 8]uint64

// pageOf returns the page that is mapped at mem, of size bytes.
func pageOf(mem []byte) *page { return (*page)(unsafe.Pointer(&mem[0])) }

// bytes is the page as it would be in a file.
func (p *page) bytes() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), size) }

// get reads a word.
func (p *page) get(word int) uint64 { return little(atomic.LoadUint64(&p[word])) }

// put writes a word in one piece, unless it is so already: a store costs more
// than a look.
func (p *page) put(word int, v uint64) {
	if p.get(word) != v {
		atomic.StoreUint64(&p[word], little(v))
	}
}

// little turns a number of this machine into a little-endian one, and back.
func little(v uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	return binary.NativeEndian.Uint64(b[:])
}
