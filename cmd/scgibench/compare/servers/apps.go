package servers

// An App is what is asked for.
type App struct {
	Name   string
	Title  string // the question that it answers
	URI    string
	Length int64 // of every reply's body; 0: unknown
	Front  bool  // nginx stands in front, and is asked in HTTP
	Sleep  bool  // /sleep is there too, see files/hello.py
}

// Apps are all applications, in the order in which to show them.
func Apps() []App {
	return []App{
		{"hello", "What does a request cost? Hello", "/", 20, false, true},
		{"cpu", "2 ms of Python", "/cpu", 20, false, true},
		{"django", "Django's hello behind nginx", "/", 20, true, true},
		{"rows", "A Django page of 50 rows behind nginx", "/rows", 0, true, true},
		{"cgi-c", "A CGI program in C", "/say.bin", 20, true, false},
		{"cgi-sh", "A CGI program in sh", "/say.sh", 20, true, false},
		{"cgi-python", "A CGI program in Python", "/say.py", 20, true, false},
		{"php", "Hello in PHP behind nginx", "/say.php", 20, true, false},
	}
}

var (
	wsgiApps   = []string{"hello", "cpu"}
	djangoApps = []string{"django", "rows"}
	cgiApps    = []string{"cgi-c", "cgi-sh", "cgi-python"}
)

// module is the WSGI module that serves an application.
func (a App) module() string {
	if a.Front {
		return "pages"
	}
	return "hello"
}
