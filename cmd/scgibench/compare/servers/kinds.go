package servers

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Kind is one server of the comparison.
type Kind struct {
	Name  string
	About string // what it is
	Apps  []string
	Ours  bool // a pool of scgid
	Floor bool // a yardstick, not a server
	Grows bool // it starts workers when there is need
	Lazy  bool // it starts none before there is need

	http    bool   // it is asked in HTTP even without nginx in front
	pass    string // nginx's directive to reach it
	needs   []need
	env     []string
	command func(k *Kit, p place) []string
}

// A place is one server to be started.
type place struct {
	app      App
	addr     string // path of its socket
	min, max int    // workers; the same unless it grows
	dir      string // of its own
}

// Serves tells whether the kind has the application.
func (k Kind) Serves(app string) bool { return slices.Contains(k.Apps, app) }

// Spawns tells that the kind is no server: it runs programs by itself.
func (k Kind) Spawns() bool { return k.Name == "spawn" }

// Kinds lists all kinds, with the variants behind scgid-python, in the order in
// which to show them. An error is about the variants.
func Kinds(opts Options) ([]Kind, error) {
	python, err := pythonPools(opts.Variants)
	if err != nil {
		return nil, err
	}
	dispatcher := Kind{Name: "floor-c", About: "C dispatcher, C worker: the floor", Apps: []string{"hello"}, Floor: true, needs: []need{compiler},
		command: func(k *Kit, p place) []string { return []string{k.floor.Dispatcher, p.addr, strconv.Itoa(p.max)} }}
	kinds := []Kind{
		dispatcher,
		{Name: "floor-python", About: "C dispatcher, bare Python loop", Apps: wsgiApps, Floor: true, needs: []need{compiler, interpreter},
			command: func(k *Kit, p place) []string {
				return []string{k.floor.Dispatcher, p.addr, strconv.Itoa(p.max), "/usr/bin/python3", k.path("tuned.py")}
			}},
		pool("scgid-c", "scgid, C worker", []string{"hello"}, nil, []need{compiler}, func(k *Kit, _ place) []string { return []string{k.floor.Worker} }),
		pool("scgid-go", "scgid, worker in Go", []string{"hello"}, nil, []need{goWorker}, func(k *Kit, _ place) []string { return []string{k.bin("goworker")} }),
	}
	kinds = append(kinds, python...)
	if opts.Slower > 0 {
		dispatcher.Name, dispatcher.About = "floor-slower", fmt.Sprintf("the floor and %v of CPU", opts.Slower)
		dispatcher.env = []string{fmt.Sprint("FLOOR_BURN_US=", opts.Slower.Microseconds())}
		kinds = append(kinds, dispatcher)
	}
	return append(kinds, peers()...), nil
}

// pythonPools are the pools of scgi-wsgi: as it is by default, and the
// variants.
func pythonPools(variants []string) ([]Kind, error) {
	pools := []Kind{wsgiPool("scgid-python", "scgid, scgi-wsgi", nil)}
	for _, v := range variants {
		name, list, ok := strings.Cut(v, ":")
		keys := strings.Split(list, ",")
		if !ok || name == "" || slices.ContainsFunc(keys, func(s string) bool { return !strings.Contains(s, "=") }) {
			return nil, fmt.Errorf("variant %q is not NAME:Section.Key=VALUE[,Section.Key=VALUE]", v)
		}
		pools = append(pools, wsgiPool("scgid-python-"+name, "scgid, scgi-wsgi, "+strings.Join(keys, ", "), keys))
	}
	return pools, nil
}

func wsgiPool(name, about string, keys []string) Kind {
	k := pool(name, about, append(slices.Clone(wsgiApps), djangoApps...), keys, []need{interpreter, wsgiWorker}, func(k *Kit, p place) []string {
		return []string{k.bin("scgi-wsgi"), p.app.module() + ":application"}
	})
	k.Grows = true
	return k
}

// pool is a kind that scgid serves by that worker.
func pool(name, about string, apps, keys []string, needs []need, worker func(*Kit, place) []string) Kind {
	return Kind{Name: name, About: about, Apps: apps, Ours: true, pass: "scgi_pass", needs: append(needs, ours),
		command: func(k *Kit, p place) []string {
			args := []string{k.bin("scgid"), "run", "--name", "scgibench-" + filepath.Base(p.dir), "--listen", p.addr,
				"--set", fmt.Sprint("Pool.MinWorkers=", p.min), "--set", fmt.Sprint("Pool.MaxWorkers=", p.max)}
			for _, key := range keys {
				args = append(args, "--set", key)
			}
			return append(append(args, "--"), worker(k, p)...)
		}}
}

func peers() []Kind {
	cgi := pool("scgi-cgi", "scgid, scgi-cgi", cgiApps, nil, []need{cgiWorker}, nil)
	cgi.command = func(k *Kit, p place) []string {
		one := pool("", "", nil, nil, nil, func(k *Kit, q place) []string {
			return []string{k.bin("scgi-cgi"), "--slots", strconv.Itoa(p.max), "--root", k.dir}
		})
		return one.command(k, place{app: p.app, addr: p.addr, dir: p.dir, min: 1, max: 1})
	}
	return []Kind{
		{Name: "scgi", About: "the scgi package's server", Apps: wsgiApps, Grows: true, Lazy: true, needs: []need{compiler, headers, checkout},
			command: func(k *Kit, p place) []string { return []string{python, k.path("nas.py"), p.addr, strconv.Itoa(p.max)} }},
		{Name: "uwsgi", About: "uWSGI --thunder-lock", Apps: append(slices.Clone(wsgiApps), djangoApps...), Grows: true,
			pass: "uwsgi_pass", needs: []need{uwsgi}, command: uwsgiCommand},
		{Name: "gunicorn", About: "gunicorn --preload, asked in HTTP", Apps: append(slices.Clone(wsgiApps), djangoApps...),
			http: true, pass: "proxy_pass", needs: []need{gunicorn}, command: gunicornCommand},
		{Name: "spawn", About: "posix_spawn alone: the floor", Apps: cgiApps, Floor: true, needs: []need{compiler}},
		cgi,
		{Name: "fcgiwrap", About: "fcgiwrap", Apps: cgiApps, pass: "fastcgi_pass", needs: []need{fcgiwrap},
			command: func(_ *Kit, p place) []string {
				return []string{fcgiwrap.find(), "-c", strconv.Itoa(p.max), "-s", "unix:" + p.addr}
			}},
		{Name: "php-fpm", About: "php-fpm, pm = static", Apps: []string{"php"}, pass: "fastcgi_pass", needs: []need{phpFPM}, command: phpCommand},
	}
}

func uwsgiCommand(_ *Kit, p place) []string {
	socket := "--scgi-socket"
	if p.app.Front {
		socket = "--socket"
	}
	args := []string{uwsgi.find(), "--master", socket, p.addr, "--listen", "1024", "--processes", strconv.Itoa(p.max),
		"--module", p.app.module() + ":application", "--disable-logging", "--die-on-term", "--thunder-lock"}
	if p.min < p.max {
		args = append(args, "--cheaper", strconv.Itoa(p.min))
	}
	return args
}

func gunicornCommand(_ *Kit, p place) []string {
	return []string{gunicorn.find(), "--preload", "--workers", strconv.Itoa(p.max), "--bind", "unix:" + p.addr,
		"--backlog", "1024", "--log-level", "error", p.app.module() + ":application"}
}

// phpCommand runs children as whoever runs us; php-fpm wants to be asked twice
// when that is root.
func phpCommand(_ *Kit, p place) []string {
	return []string{phpFPM.find(), "--nodaemonize", "--allow-to-run-as-root", "--fpm-config", filepath.Join(p.dir, "fpm.conf")}
}

// find is the program of a need, "" when it is not there.
func (n need) find() string {
	for _, pattern := range n.programs {
		if path, err := exec.LookPath(pattern); err == nil {
			return path
		}
		if all, _ := filepath.Glob(pattern); len(all) > 0 {
			return all[len(all)-1]
		}
	}
	return ""
}
