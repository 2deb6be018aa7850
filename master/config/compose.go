package config

import (
	"errors"
	"reflect"
	"strings"
)

// Compose returns the text of a file for the pool called name, without a
// comment: set, each "Section.Key=VALUE", and the words of exec as ExecStart=.
// Sections and keys are in the order of the table of keys. The Config is what
// the file gives when it is loaded; a command that only scgid run takes, such
// as ./app, is an error here.
func Compose(name string, set, exec []string) (string, *Config, error) {
	want, err := FromSettings(name, set, exec)
	if err != nil {
		return "", nil, err
	}
	lines := settingLines(set)
	if len(exec) > 0 {
		lines["Worker.ExecStart"] = commandText(exec)
	}
	text := sectionsText(lines)
	l := newLoader(name)
	l.parse("", text)
	got, err := l.finish()
	if err != nil {
		return "", nil, err
	}
	// A value that a file cannot hold (a line end, say) must not be lost in
	// silence.
	a, b := *got, *want
	a.origins, b.origins = nil, nil
	if !reflect.DeepEqual(a, b) {
		return "", nil, errors.New("these settings cannot be written as a file")
	}
	return text, got, nil
}

// settingLines are the values of set by key, one a line. Unlike in a file a
// later value of a key that is not a list replaces the one before.
func settingLines(set []string) map[string][]string {
	lines := map[string][]string{}
	for _, s := range set {
		key, value, _ := strings.Cut(s, "=")
		section, name, _ := strings.Cut(key, ".")
		value = strings.TrimSpace(value)
		if continued(value) {
			value += " "
		}
		switch {
		case value == "":
			delete(lines, key)
		case findKey(section, name).List:
			lines[key] = append(lines[key], value)
		default:
			lines[key] = []string{value}
		}
	}
	return lines
}

// sectionsText writes lines by key as the sections of a file.
func sectionsText(lines map[string][]string) string {
	var b strings.Builder
	section := ""
	for i := range keys {
		k := &keys[i]
		for _, value := range lines[k.String()] {
			if k.Section != section {
				if section != "" {
					b.WriteString("\n")
				}
				section = k.Section
				b.WriteString("[" + section + "]\n")
			}
			b.WriteString(k.Name + "=" + value + "\n")
		}
	}
	return b.String()
}
