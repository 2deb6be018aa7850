package main

import "errors"

// A pathFlag is a flag with a path. An empty one is refused: from a script whose
// variable is not set it would mean another pool, or this system.
type pathFlag struct{ path *string }

func (f pathFlag) Set(text string) error {
	if text == "" {
		return errors.New("the path is empty")
	}
	*f.path = text
	return nil
}

func (f pathFlag) String() string {
	if f.path == nil {
		return ""
	}
	return *f.path
}

func (pathFlag) Type() string { return "PATH" }
