//go:build scgid_fault

package main

import (
	"os"

	"github.com/scgid/scgid/master"
)

// faulty makes the loop hang when there is a file "hang" in the pool's state
// directory: the Notifier is called in the loop, and may not block.
func faulty(n master.Notifier) master.Notifier { return hanging{n} }

type hanging struct{ master.Notifier }

func (h hanging) Status(text string) {
	h.Notifier.Status(text)
	if _, err := os.Stat(os.Getenv("STATE_DIRECTORY") + "/hang"); err == nil {
		select {}
	}
}
