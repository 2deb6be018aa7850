package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const page = "../../packaging/man/scgictl.1"

var (
	sections = regexp.MustCompile(`(?m)^\.S[sh] (.*)$`)
	items    = regexp.MustCompile(`(?m)^\.It (Fl .*)$`)
	flagName = regexp.MustCompile(`\bFl ((?:\\-)?\w(?:\w|\\-)*)`)
)

// section returns the part of the manual page below a title.
func section(text, title string) (string, bool) {
	for _, at := range sections.FindAllStringSubmatchIndex(text, -1) {
		if text[at[2]:at[3]] != title {
			continue
		}
		rest := text[at[1]:]
		if end := sections.FindStringIndex(rest); end != nil {
			rest = rest[:end[0]]
		}
		return rest, true
	}
	return "", false
}

// listedFlags returns the flags that a piece of the page has items for.
func listedFlags(text string) []string {
	var all []string
	for _, item := range items.FindAllStringSubmatch(text, -1) {
		for _, m := range flagName.FindAllStringSubmatch(item[1], -1) {
			all = append(all, "-"+strings.ReplaceAll(m[1], `\-`, "-"))
		}
	}
	slices.Sort(all)
	return all
}

// ownFlags returns the flags that are a command's own, but for --help.
func ownFlags(cmd *cobra.Command) []string {
	var all []string
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Hidden {
			return
		}
		all = append(all, "--"+f.Name)
		if f.Shorthand != "" {
			all = append(all, "-"+f.Shorthand)
		}
	})
	slices.Sort(all)
	return all
}

func TestTheManualHasEveryCommandWithItsFlags(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range rootCommand(newCtl()).Commands() {
		if cmd.Hidden || cmd.Name() == "help" {
			continue
		}
		text, ok := section(string(b), "scgictl "+cmd.Name())
		if !ok {
			t.Errorf("scgictl.1 has no .Ss scgictl %s", cmd.Name())
			continue
		}
		if got, want := listedFlags(text), ownFlags(cmd); !slices.Equal(got, want) {
			t.Errorf("scgictl.1, %s, has items for %v, the command takes %v", cmd.Name(), got, want)
		}
	}
}
