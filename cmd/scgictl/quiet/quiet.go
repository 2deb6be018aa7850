// Package quiet keeps the library behind scgictl top from asking the terminal
// for its colours before main begins, whatever the command is: it would wait
// for up to five seconds where nobody answers, and eat what was typed.
//
// It owns the variable CI for that time. The library (bubbletea 1, in an init
// function) asks nothing where CI is set; its version 2 never does, and then
// this package can go.
//
// It relies on the order in which packages are initialised (Go specification,
// "Program initialization"): sorted by import path, each as soon as its own
// imports are. This one imports nothing but os, so it comes before strings,
// which the library needs. It must never import anything else.
package quiet

import "os"

var value, was = os.LookupEnv("CI")

func init() { _ = os.Setenv("CI", "1") }

// Over gives CI back as it was. main calls it when everything else is
// initialised.
func Over() {
	if was {
		_ = os.Setenv("CI", value)
	} else {
		_ = os.Unsetenv("CI")
	}
}
