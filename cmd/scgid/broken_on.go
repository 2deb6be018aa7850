//go:build scgid_broken

package main

import "errors"

// how says how this program, which only tests build, fails to take over.
var how = "error"

func broken() error {
	switch how {
	case "panic":
		panic("this build is broken")
	case "hang":
		select {}
	}
	return errors.New("this build is broken")
}
