package link

import (
	"sync/atomic"
	"unsafe"
)

// pageWords are the words of a page as they lie in memory, which another
// process may change at any moment: each is read and written atomically.
type pageWords [pageSize / 8]uint64

// wordsOf returns the page that is mapped at mem, of pageSize bytes.
func wordsOf(mem []byte) *pageWords { return (*pageWords)(unsafe.Pointer(&mem[0])) }

func (w *pageWords) load(word int) uint64        { return atomic.LoadUint64(&w[word]) }
func (w *pageWords) store(word int, v uint64)    { atomic.StoreUint64(&w[word], v) }
func (w *pageWords) exchange(word int, v uint64) { atomic.SwapUint64(&w[word], v) }
func (w *pageWords) swap(word int, was, v uint64) bool {
	return atomic.CompareAndSwapUint64(&w[word], was, v)
}
