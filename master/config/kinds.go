package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
)

// listMax bounds the entries of one list key.
const listMax = 1024

// notAllowed is the error of a value that is not what k allows.
func (k kind) notAllowed() error { return fmt.Errorf("must be %s", k.Allowed) }

// The functions below make kinds from where a value is stored and its bounds. An
// empty value stores the zero value, which is the default where the table of
// keys has none.

func number(p func(*Config) *int, lo, hi int) kind {
	k := kind{Type: "number", Allowed: fmt.Sprintf("a number from %d to %d", lo, hi)}
	k.set = func(c *Config, v string) error {
		n, err := strconv.Atoi(v)
		if v != "" && (err != nil || n < lo || n > hi) {
			return k.notAllowed()
		}
		*p(c) = n
		return nil
	}
	k.text = func(c *Config) []string { return []string{strconv.Itoa(*p(c))} }
	return k
}

// busyLimit is auto, off or a number.
func busyLimit(p func(*Config) *control.BusyLimit) kind {
	k := kind{Type: "limit", Allowed: fmt.Sprintf("auto, off or a number from 1 to %d", control.WorkersMax)}
	k.set = func(c *Config, v string) error {
		n, err := control.ParseBusyLimit(v)
		if v != "" && err != nil {
			return k.notAllowed()
		}
		*p(c) = n
		return nil
	}
	k.text = func(c *Config) []string { return []string{p(c).String()} }
	return k
}

// count is a number whose zero means that nothing is set.
func count(p func(*Config) *uint64, lo, hi uint64) kind {
	k := kind{Type: "number", Allowed: fmt.Sprintf("a number from %d to %d", lo, hi)}
	k.set = func(c *Config, v string) error {
		n, err := strconv.ParseUint(v, 10, 64)
		if v != "" && (err != nil || n < lo || n > hi) {
			return k.notAllowed()
		}
		*p(c) = n
		return nil
	}
	k.text = func(c *Config) []string {
		if *p(c) == 0 {
			return nil
		}
		return []string{strconv.FormatUint(*p(c), 10)}
	}
	return k
}

// size is a number of bytes, with a suffix such as K.
func size(p func(*Config) *int, lo, hi int) kind {
	k := kind{Type: "size", Allowed: fmt.Sprintf("a size from %s to %s", sizeText(lo), sizeText(hi))}
	k.set = func(c *Config, v string) error {
		n, ok := parseSize(v)
		if v != "" && (!ok || n < uint64(lo) || n > uint64(hi)) {
			return k.notAllowed()
		}
		*p(c) = int(n)
		return nil
	}
	k.text = func(c *Config) []string { return []string{sizeText(*p(c))} }
	return k
}

// timeout is a time span within bounds: neither 0 nor infinity, which systemd
// takes for "none" in some settings and for "at once" in others.
func timeout(p func(*Config) *time.Duration, lo, hi time.Duration) kind {
	k := kind{Type: "time span", Allowed: fmt.Sprintf("a time span from %s to %s", spanText(lo), spanText(hi))}
	k.set = func(c *Config, v string) error {
		if v == "" {
			*p(c) = 0
			return nil
		}
		d, err := timeSpan(v)
		if err != nil {
			return err
		}
		if d < lo || d > hi {
			return k.notAllowed()
		}
		*p(c) = d
		return nil
	}
	k.text = func(c *Config) []string { return []string{spanText(*p(c))} }
	return k
}

// timeoutOrOff is a timeout that 0 and infinity turn off; it is stored as 0.
func timeoutOrOff(p func(*Config) *time.Duration, lo, hi time.Duration) kind {
	k := timeout(p, lo, hi)
	within := k.set
	k.Allowed += ", or 0 or infinity for off"
	k.set = func(c *Config, v string) error {
		d, err := timeSpan(v)
		switch {
		case err != nil:
			return within(c, v)
		case d == 0 || d == infinity:
			*p(c) = 0
			return nil
		case d < lo || d > hi:
			return k.notAllowed()
		}
		return within(c, v)
	}
	return k
}

// boolean takes the words of systemd.syntax(7) for yes and no.
func boolean(p func(*Config) *bool) kind {
	k := kind{Type: "boolean", Allowed: "a boolean: yes, true, on, 1 or no, false, off, 0"}
	k.set = func(c *Config, v string) error {
		switch strings.ToLower(v) {
		case "1", "yes", "y", "true", "t", "on":
			*p(c) = true
		case "", "0", "no", "n", "false", "f", "off":
			*p(c) = false
		default:
			return k.notAllowed()
		}
		return nil
	}
	k.text = func(c *Config) []string { return []string{map[bool]string{true: "yes", false: "no"}[*p(c)]} }
	return k
}

// mode is the permissions of a file, in octal. 0 is not a mode: nobody could
// connect.
func mode(p func(*Config) *os.FileMode) kind {
	k := kind{Type: "mode", Allowed: "an octal mode from 0001 to 0777"}
	k.set = func(c *Config, v string) error {
		n, err := strconv.ParseUint(v, 8, 32)
		if v != "" && (err != nil || n == 0 || n > 0o777) {
			return k.notAllowed()
		}
		*p(c) = os.FileMode(n)
		return nil
	}
	k.text = func(c *Config) []string { return []string{fmt.Sprintf("%04o", *p(c))} }
	return k
}

// addresses are kept as they are written: whether one can be listened on is seen
// when it is opened, on the machine where that happens.
func addresses(p func(*Config) *[]string) kind {
	k := kind{Type: "address", Allowed: "one address a line: /path, unix:/path, @name or HOST:PORT"}
	put := func(c *Config, v string) ([]int, error) {
		if i := strings.IndexAny(v, " \t"); i >= 0 {
			return nil, faultf(i, "holds a blank; it must be %s", k.Allowed)
		}
		a, err := expand(v, c.Name)
		if err != nil {
			return nil, err
		}
		i, err := add(p(c), a)
		return []int{i}, err
	}
	return list(k, p, put, lineText)
}

// list makes k the kind of a list; put stores what is in a line that is not
// empty, and text writes one entry.
func list[T any](k kind, p func(*Config) *[]T, put func(*Config, string) ([]int, error), text func(T) string) kind {
	k.List = true
	k.put = put
	k.set = func(c *Config, v string) error {
		if v == "" {
			*p(c) = nil
			return nil
		}
		_, err := put(c, v)
		return err
	}
	k.text = func(c *Config) []string {
		var lines []string
		for _, v := range *p(c) {
			lines = append(lines, text(v))
		}
		return lines
	}
	return k
}

// add appends to a list key, within bounds, and returns the position.
func add[T any](list *[]T, v T) (int, error) {
	if len(*list) >= listMax {
		return 0, fmt.Errorf("is one entry too many, %d are allowed", listMax)
	}
	*list = append(*list, v)
	return len(*list) - 1, nil
}

// directory is an absolute path. What it leads to is not looked at: it may
// change with each release.
func directory(p func(*Config) *string) kind {
	k := kind{Type: "path", Allowed: "an absolute path"}
	k.set = func(c *Config, v string) error {
		if v == "" {
			*p(c) = ""
			return nil
		}
		d, err := expand(v, c.Name)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(d) {
			return k.notAllowed()
		}
		*p(c) = d
		return nil
	}
	k.text = func(c *Config) []string { return plainText(*p(c)) }
	return k
}

// envFiles are paths only: the files are read for each generation. systemd allows
// patterns, which are refused here rather than read as names.
func envFiles(p func(*Config) *[]EnvFile) kind {
	k := kind{Type: "path", Allowed: `an absolute path, with "-" in front if it may be missing`}
	put := func(c *Config, v string) ([]int, error) {
		path, optional := strings.CutPrefix(v, "-")
		start := len(v) - len(path)
		path, err := expand(path, c.Name)
		var f *fault
		if errors.As(err, &f) {
			return nil, faultf(start+f.off, "%s", f.text)
		}
		if !filepath.IsAbs(path) {
			return nil, k.notAllowed()
		}
		if strings.ContainsAny(path, "*?[") {
			return nil, fmt.Errorf("is a pattern; it must be %s", k.Allowed)
		}
		i, err := add(p(c), EnvFile{path, optional})
		return []int{i}, err
	}
	return list(k, p, put, EnvFile.text)
}

func (f EnvFile) text() string {
	if f.Optional {
		return "-" + lineText(f.Path)
	}
	return lineText(f.Path)
}
