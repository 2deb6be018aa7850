package config

import (
	"fmt"
	"strings"
)

// Manual returns the table of keys as the option list of scgid.conf(5), in
// mdoc(7): a subsection for each section, an item for each key.
func Manual() string {
	var b strings.Builder
	for _, s := range sections() {
		fmt.Fprintf(&b, ".Ss [%s] section\n.Bl -tag -width Ds\n", s)
		for i := range keys {
			if keys[i].Section == s {
				keys[i].manual(&b)
			}
		}
		b.WriteString(".El\n")
	}
	return b.String()
}

func (k *Key) manual(b *strings.Builder) {
	fmt.Fprintf(b, ".It Cm %s Ns = Ns Ar %s\n", k.Name, k.Type)
	mdocText(b, k.Help)
	b.WriteString(".Pp\n")
	mdocText(b, "Allowed: "+k.Allowed+".")
	switch {
	case k.Default != "":
		mdocText(b, "Default: "+k.Default+".")
	case k.List:
		mdocText(b, "Repeated lines add to the list; an empty one empties it.")
	}
}

// mdocWidth is the length that mandoc(1) wants no input line to exceed.
const mdocWidth = 80

var mdocEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`)

// mdocText writes plain text: each sentence starts a line, no line is long,
// and none can be taken for a request.
func mdocText(b *strings.Builder, text string) {
	used := 0
	for _, w := range strings.Fields(mdocEscapes.Replace(text)) {
		switch {
		case used == 0:
		case used+1+len(w) > mdocWidth:
			b.WriteByte('\n')
			used = 0
		default:
			b.WriteByte(' ')
			used++
		}
		if used == 0 && strings.IndexByte(".'", w[0]) >= 0 {
			w = `\&` + w
		}
		b.WriteString(w)
		used += len(w)
		if strings.HasSuffix(w, ".") {
			b.WriteByte('\n')
			used = 0
		}
	}
	if used > 0 {
		b.WriteByte('\n')
	}
}
