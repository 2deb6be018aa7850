package main

import "testing"

func TestTheBundledProgramIsTheOneThatIsExecuted(t *testing.T) {
	for _, c := range []struct {
		argv []string
		want int
	}{
		{[]string{"scgi-wsgi", "app"}, 0},
		{[]string{"scgi-cgi", "--env", "X=1", "/bin/scgi-wsgi"}, 0},
		{[]string{"/srv/venv/bin/python", "scgi-wsgi", "app"}, 1},
		{[]string{"python3", "-u", "scgi-wsgi", "app"}, 2},
		{[]string{"/usr/bin/python3.12", "-X", "dev", "scgi-wsgi", "app"}, 3},
		{[]string{"nice", "scgi-wsgi", "app"}, 1},
		{[]string{"nice", "-n", "5", "python3", "-u", "scgi-wsgi", "scgi-cgi"}, 5},
		{[]string{"env", "A=B", "scgi-cgi", "/bin/x"}, 2},
		{[]string{"other", "scgi-wsgi"}, 1},
		{[]string{"other", "--as", "scgi-wsgi"}, -1}, // an argument
		{[]string{"other"}, -1},
	} {
		if got := bundledAt(c.argv); got != c.want {
			t.Errorf("%q: word %d, want %d", c.argv, got, c.want)
		}
	}
}
