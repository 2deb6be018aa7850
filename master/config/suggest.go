package config

import (
	"strings"
)

// sections returns the names of all sections, in the order of the manual.
func sections() []string {
	var names []string
	for i := range keys {
		if n := len(names); n == 0 || names[n-1] != keys[i].Section {
			names = append(names, keys[i].Section)
		}
	}
	return names
}

func knownSection(name string) bool {
	for _, s := range sections() {
		if s == name {
			return true
		}
	}
	return false
}

func sectionList() string { return "[" + strings.Join(sections(), "], [") + "]" }

func findKey(section, name string) *Key {
	for i := range keys {
		if keys[i].Section == section && keys[i].Name == name {
			return &keys[i]
		}
	}
	return nil
}

// nearSection says which section was probably meant by name, which is not one.
func nearSection(name string) string {
	if s, ok := nearest(name, sections()); ok {
		return "did you mean [" + s + "]?"
	}
	return "sections are " + sectionList()
}

// nearKey says which key was probably meant by name, which is not a key of the
// section.
func nearKey(section, name string) string {
	var here, elsewhere []string
	for i := range keys {
		k := &keys[i]
		switch {
		case k.Section == section:
			here = append(here, k.Name)
		case k.Name == name:
			return name + "= belongs in [" + k.Section + "]"
		default:
			elsewhere = append(elsewhere, k.Name)
		}
	}
	if n, ok := nearest(name, here); ok {
		return "did you mean " + n + "=?"
	}
	if n, ok := nearest(name, elsewhere); ok {
		return "did you mean " + n + "= in [" + sectionOf(n) + "]?"
	}
	return "keys there are " + strings.Join(here, "=, ") + "="
}

// sectionOf returns the section that a key's bare name belongs to, or "".
func sectionOf(name string) string {
	for i := range keys {
		if keys[i].Name == name {
			return keys[i].Section
		}
	}
	return ""
}

// sectionHint says, for a --set argument without its section, where it belongs.
func sectionHint(path string) string {
	if strings.Contains(path, ".") {
		return ""
	}
	var names []string
	for i := range keys {
		names = append(names, keys[i].Name)
	}
	if n, ok := nearest(path, names); ok {
		return "; did you mean " + sectionOf(n) + "." + n + "=?"
	}
	return ""
}

// nearest returns the one of names that word most likely was meant to be:
// the same except for case, or a few letters away, or cut short.
func nearest(word string, names []string) (string, bool) {
	if len(word) > 64 { // no typing error, and distance is quadratic
		return "", false
	}
	best, name := 1<<30, ""
	for _, n := range names {
		d := distance(strings.ToLower(word), strings.ToLower(n))
		if d > max(2, len(word)/3) || d >= len(word) {
			if len(word) < 4 || !strings.HasPrefix(strings.ToLower(n), strings.ToLower(word)) {
				continue
			}
		}
		if d < best {
			best, name = d, n
		}
	}
	return name, name != ""
}

// distance is the number of single-byte changes between a and b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
