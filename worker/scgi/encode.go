package scgi

import (
	"fmt"
	"strconv"
	"strings"
)

// AppendHeader appends the whole netstring for vars to dst. CONTENT_LENGTH
// goes first and SCGI=1 second, wherever they are in vars; SCGI may be left
// out. The others keep their order.
//
// What ReadRequest would refuse is refused, with a *SyntaxError: NUL bytes,
// empty names, a missing, second or bad CONTENT_LENGTH, more than MaxVars.
// Then dst is returned as it was.
func AppendHeader(dst []byte, vars []Var) ([]byte, error) {
	length, n, err := measure(vars)
	if err != nil {
		return dst, err
	}
	digits := strconv.Itoa(n)
	if len(digits) > maxDigits {
		return dst, ErrTooLarge
	}
	dst = append(dst, digits...)
	dst = append(dst, ':')
	dst = appendVar(dst, lengthName, length)
	dst = appendVar(dst, versionName, "1")
	for _, v := range vars {
		if v.Name != lengthName && v.Name != versionName {
			dst = appendVar(dst, v.Name, v.Value)
		}
	}
	return append(dst, ','), nil
}

func appendVar(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, 0)
	dst = append(dst, value...)
	return append(dst, 0)
}

// measure checks vars. It returns the value of CONTENT_LENGTH and the number
// of bytes of the payload.
func measure(vars []Var) (length string, n int, err error) {
	var lengths, versions int
	n = len(versionName) + len("1") + 2
	for _, v := range vars {
		if err := checkVar(v); err != nil {
			return "", 0, err
		}
		switch v.Name {
		case lengthName:
			length = v.Value
			lengths++
		case versionName:
			versions++
			continue
		}
		n += len(v.Name) + len(v.Value) + 2
	}
	switch {
	case lengths == 0:
		return "", 0, &SyntaxError{400, "CONTENT_LENGTH is missing"}
	case lengths > 1:
		return "", 0, errLengthTwice
	case versions > 1:
		return "", 0, errVersionTwice
	case len(vars)-versions+1 > MaxVars:
		return "", 0, errManyVars
	}
	return length, n, nil
}

func checkVar(v Var) (err error) {
	switch {
	case v.Name == "":
		return errEmptyName
	case strings.IndexByte(v.Name, 0) >= 0:
		return &SyntaxError{400, fmt.Sprintf("name %q holds a NUL byte", v.Name)}
	case strings.IndexByte(v.Value, 0) >= 0:
		return &SyntaxError{400, fmt.Sprintf("value of %q holds a NUL byte", v.Name)}
	case v.Name == lengthName:
		_, err = parseLength(v.Value)
	case v.Name == versionName && v.Value != "1":
		err = errVersion
	}
	return err
}
