package worker

import (
	"io"
	"os"
	"runtime"
)

// maxDump bounds a stack dump in bytes.
const maxDump = 16 << 20

func (w *Worker) dumpOnSignal() {
	for {
		select {
		case <-w.dump:
			dumpStacks(os.Stderr)
		case <-w.closed:
			return
		}
	}
}

// dumpStacks writes the stacks of all goroutines.
func dumpStacks(to io.Writer) {
	for size := 64 << 10; ; size *= 2 {
		buf := make([]byte, size)
		n := runtime.Stack(buf, true)
		if n < size || size >= maxDump {
			to.Write(append(buf[:n:n], '\n'))
			return
		}
	}
}
