package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/cmd/scgictl/tree"
)

// Files that create writes have a line by which remove knows them again, and
// sees whether somebody changed them:
//
//	# scgictl create: NAME DIGEST
//
// It protects against mistakes, not against anybody.
const signature = "# scgictl create: "

// signed puts the line between a comment and the rest of a file.
func signed(pool, comment, rest string) string {
	return comment + signature + pool + " " + digest(comment+rest) + "\n" + rest
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("%x", sum[:8])
}

// An origin is whose a file is.
type origin int

const (
	absent  origin = iota
	written        // as create wrote it
	edited         // create wrote it, and somebody changed it
	foreign        // somebody else's
)

// signer says whose a text is.
func signer(pool, text string) origin {
	before, rest, found := strings.Cut("\n"+text, "\n"+signature)
	if !found {
		return foreign
	}
	line, after, _ := strings.Cut(rest, "\n")
	name, sum, _ := strings.Cut(line, " ")
	if name != pool {
		return foreign
	}
	// before has a newline in front, and lacks the one behind it.
	if before != "" {
		before = before[1:] + "\n"
	}
	if sum != digest(before+after) {
		return edited
	}
	return written
}

// fileMax bounds what is read of a file that may be anybody's.
const fileMax = 1 << 20

// originOf looks at a file. A link, or what is not a file, is somebody else's.
func (s *setup) originOf(path string) (origin, error) {
	f, err := s.OpenItself(path)
	switch {
	case errors.Is(err, tree.ErrNotRegular), errors.Is(err, unix.ELOOP):
		return foreign, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return absent, nil
	case err != nil:
		return foreign, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return foreign, err
	}
	if info.Size() > fileMax {
		return foreign, nil
	}
	var text bytes.Buffer
	if _, err := io.Copy(&text, io.LimitReader(f, fileMax)); err != nil {
		return foreign, err
	}
	return signer(s.name, text.String()), nil
}
