package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// A script is the program that answers one request.
type script struct {
	path string     // absolute, without symbolic links
	fd   int        // what is executed, opened with O_PATH; -1 if that is path
	dir  string     // its working directory; RFC 3875, 7.2
	args []string   // its arguments, its own name first
	vars []scgi.Var // variables that follow from how it was found
}

// close closes what is executed. It may be called more than once.
func (s *script) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
	s.fd = -1
}

// A refusal is a request that gets no program: the client sees the code, the
// log the reason.
type refusal struct {
	code   int
	reason string
}

func (r *refusal) Error() string { return r.reason }

func refuse(code int, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// A root is the directory of --root.
type root struct {
	*tree
	index string  // program of a directory, "" for none
	links []*tree // where symbolic links may lead: the root itself, and those of --follow-links-to
}

// openRoot opens dir, and the paths where links in it may lead.
func openRoot(dir, index string, links ...string) (*root, error) {
	t, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	r := &root{tree: t, index: index, links: []*tree{t}}
	for _, path := range links {
		t, err := openLinked(path)
		if err != nil {
			r.close()
			return nil, fmt.Errorf("--follow-links-to %s: %w", path, err)
		}
		r.links = append(r.links, t)
	}
	return r, nil
}

// close closes all directories.
func (r *root) close() {
	for _, t := range r.links {
		unix.Close(t.fd)
	}
}

// find returns the program for a request, or a *refusal. The caller closes it.
func (r *root) find(h scgi.Header) (script, error) {
	h, whole := unplaced(h)
	rel, err := r.wanted(h)
	if err != nil {
		return script{fd: -1}, err
	}
	fd, name, extra, err := r.open(rel)
	if err != nil {
		return script{fd: -1}, err
	}
	path, err := descriptorPath(fd)
	if err != nil {
		unix.Close(fd)
		return script{fd: -1}, refuse(http.StatusInternalServerError, "cannot read the path of %s: %v", show(name), err)
	}
	return script{
		path: path,
		fd:   fd,
		dir:  filepath.Dir(path),
		args: []string{path},
		vars: append(whole, scriptVars(h, filepath.Join(r.path, name), extra)...),
	}, nil
}

// unplaced takes a request that says nothing of where its program lies in the
// file system: then all of its path is one beneath the root, as with
// "scgictl request" and the HTTP front of scgid, and none is split off yet. whole
// is a PATH_INFO for a program at its end.
func unplaced(h scgi.Header) (found scgi.Header, whole []scgi.Var) {
	for _, name := range []string{"SCRIPT_FILENAME", "DOCUMENT_ROOT"} {
		if h.Get(name) != "" {
			return h, nil
		}
	}
	path := h.Get("SCRIPT_NAME") + h.Get("PATH_INFO")
	if path == "" {
		path = h.Get("DOCUMENT_URI")
	}
	if path == "" {
		return h, nil
	}
	return scgi.Header{{Name: "DOCUMENT_URI", Value: path}}, []scgi.Var{{Name: "PATH_INFO"}}
}

// wanted returns the path below the root that the request names. A PATH_INFO
// may follow the program's name.
//
// Three sources, the first that is there:
//
// SCRIPT_FILENAME, an absolute path beneath the root.
//
// SCRIPT_FILENAME as Apache's mod_proxy_scgi sends it, proxy:scgi://host:port/path:
// the path is an escaped URL path, taken as beneath the root; it may also
// begin with the root's own path.
//
// DOCUMENT_ROOT followed by SCRIPT_NAME, or by DOCUMENT_URI (nginx sends no
// SCRIPT_NAME by itself), when that is beneath the root. Without DOCUMENT_ROOT
// it is the root; see unplaced.
func (r *root) wanted(h scgi.Header) (string, error) {
	name := h.Get("SCRIPT_FILENAME")
	if rest, ok := strings.CutPrefix(name, "proxy:"); ok {
		return r.proxied(rest)
	}
	if name == "" {
		top, uri := h.Get("DOCUMENT_ROOT"), h.Get("SCRIPT_NAME")
		if uri == "" {
			uri = h.Get("DOCUMENT_URI")
		}
		if uri == "" {
			return "", refuse(http.StatusNotFound, "the request names no program: it has no SCRIPT_FILENAME, SCRIPT_NAME or DOCUMENT_URI")
		}
		if top == "" {
			top = r.path
		}
		name = strings.TrimRight(top, "/") + "/" + strings.TrimLeft(uri, "/")
	}
	if !strings.HasPrefix(name, "/") {
		return "", refuse(http.StatusForbidden, "%s is not an absolute path", show(name))
	}
	if err := checkPath(name); err != nil {
		return "", err
	}
	rel, ok := r.beneath(name)
	if !ok {
		return "", refuse(http.StatusForbidden, "%s is not beneath %s", show(name), r.path)
	}
	return rel, nil
}

// proxied reads what follows proxy: in Apache's SCRIPT_FILENAME.
func (r *root) proxied(s string) (string, error) {
	_, s, _ = strings.Cut(s, "://")
	s, _, _ = strings.Cut(s, "?")
	slash := strings.IndexByte(s, '/')
	if slash < 0 {
		return "", refuse(http.StatusNotFound, "SCRIPT_FILENAME names no path")
	}
	name, err := url.PathUnescape(s[slash:])
	if err != nil {
		return "", refuse(http.StatusNotFound, "SCRIPT_FILENAME is not well escaped: %s", show(s))
	}
	if err := checkPath(name); err != nil {
		return "", err
	}
	if rel, ok := r.beneath(name); ok {
		return rel, nil
	}
	return strings.TrimLeft(name, "/"), nil
}

// checkPath refuses what no honest web server sends. The kernel holds the
// border (openat2); these get a clear answer before it is asked.
func checkPath(name string) error {
	if strings.IndexByte(name, 0) >= 0 {
		return refuse(http.StatusForbidden, "the path %s holds a NUL byte", show(name))
	}
	if len(name) >= unix.PathMax {
		return refuse(http.StatusNotFound, "the path %s is too long", show(name))
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return refuse(http.StatusForbidden, "the path %s goes up", show(name))
		}
	}
	return nil
}

// open opens the program that rel, or a beginning of rel, names. extra is what
// follows it: its PATH_INFO. The caller owns fd, opened with O_PATH.
func (r *root) open(rel string) (fd int, name, extra string, err error) {
	fd, name, err = r.openProgram(rel)
	if !errors.Is(err, unix.ENOTDIR) {
		return fd, name, "", r.describe(err, rel)
	}
	// Something on the way is a file: take the first. The loop ends there at
	// the latest, so it is bounded by the depth of real directories.
	for i := 1; i < len(rel); i++ {
		if rel[i] != '/' || rel[i-1] == '/' {
			continue
		}
		fd, err := r.lookup(rel[:i])
		if err != nil {
			return -1, "", "", r.describe(err, rel)
		}
		if kind(fd) != unix.S_IFDIR {
			if err := runnable(fd, rel[:i]); err != nil {
				unix.Close(fd)
				return -1, "", "", err
			}
			return fd, rel[:i], rel[i:], nil
		}
		unix.Close(fd)
	}
	return -1, "", "", r.describe(unix.ENOENT, rel)
}

// openProgram opens rel, and in a directory the index.
func (r *root) openProgram(rel string) (int, string, error) {
	fd, err := r.lookup(rel)
	if err == nil && kind(fd) == unix.S_IFDIR && r.index != "" {
		unix.Close(fd)
		rel = filepath.Join(rel, r.index)
		fd, err = r.lookup(rel)
	}
	if err != nil {
		return -1, rel, err
	}
	if err := runnable(fd, rel); err != nil {
		unix.Close(fd)
		return -1, rel, err
	}
	return fd, rel, nil
}

// runnable refuses what is not an executable file. Whether this process may
// execute it shows when it does.
func runnable(fd int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return refuse(http.StatusInternalServerError, "cannot look at %s: %v", show(name), err)
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return refuse(http.StatusForbidden, "%s is a directory", show(name))
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return refuse(http.StatusForbidden, "%s is not a file", show(name))
	case st.Mode&0o111 == 0:
		return refuse(http.StatusForbidden, "%s is not executable", show(name))
	}
	return nil
}

// kind returns the file type of a descriptor, 0 when it cannot be told.
func kind(fd int) uint32 {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0
	}
	return st.Mode & unix.S_IFMT
}

// describe makes a refusal of what openat2 said.
func (r *root) describe(err error, rel string) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err // nil, or a refusal already
	}
	switch errno {
	case unix.ENOENT, unix.ENOTDIR, unix.ENAMETOOLONG:
		return refuse(http.StatusNotFound, "there is no program %s", show(rel))
	case unix.EXDEV:
		return refuse(http.StatusForbidden, "%s", r.explain(rel))
	case unix.EACCES, unix.EPERM, unix.ELOOP:
		return refuse(http.StatusForbidden, "cannot open %s: %v", show(rel), errno)
	}
	return refuse(http.StatusInternalServerError, "cannot open %s: %v", show(rel), errno)
}

// scriptVars sets SCRIPT_FILENAME to the program's path, and where a PATH_INFO
// was found and not already told, that, and SCRIPT_NAME without it.
func scriptVars(h scgi.Header, path, extra string) []scgi.Var {
	vars := []scgi.Var{{Name: "SCRIPT_FILENAME", Value: path}}
	name, ok := h.Lookup("SCRIPT_NAME")
	if !ok {
		name, ok = h.Lookup("DOCUMENT_URI")
	}
	info, told := h.Lookup("PATH_INFO")
	if told && (info != "" || extra == "") {
		// The web server has split the path, so SCRIPT_NAME is right.
	} else if extra != "" {
		name = strings.TrimSuffix(name, extra)
		vars = append(vars, scgi.Var{Name: "PATH_INFO", Value: extra})
	}
	if ok {
		vars = append(vars, scgi.Var{Name: "SCRIPT_NAME", Value: name})
	}
	return vars
}
