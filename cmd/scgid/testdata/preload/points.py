"""Says all that an application can see of the process that it runs in, as JSON:
what it saw at import, and what it sees in a request. Numbers that differ between
any two processes are replaced by what they stand for."""

import sys

MODULES = sorted(sys.modules)

import builtins, gc, json, locale, os, resource, signal, socket, stat, threading, time, warnings


def kind(fd):
    state = os.fstat(fd)
    what = os.readlink("/proc/self/fd/%d" % fd).split(":")[0]
    if stat.S_ISSOCK(state.st_mode):
        sock = socket.socket(fileno=os.dup(fd))
        what = "%s %s" % (sock.family, sock.type)
        sock.close()
    return [what, os.get_inheritable(fd), os.get_blocking(fd)]


def descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = kind(int(name))
        except OSError:
            pass  # the directory's own
    return found


def named(number):
    names = {os.getpid(): "own", os.getppid(): "parent's", 0: "none"}
    return names.get(number, number)


def status():
    skip = "Pid Tgid NSpid NSpgid NStgid PPid Vm Rss Threads voluntary nonvoluntary HugetlbPages FDSize SigQ NSsid".split()
    found = {}
    for line in open("/proc/self/status"):
        name, _, value = line.partition(":")
        if not any(name.startswith(s) for s in skip):
            found["status." + name] = value.strip()
    return found


def read(name):
    try:
        return open("/proc/self/" + name, errors="surrogateescape").read()
    except OSError as error:
        return error.errno


def points():
    umask = os.umask(0)
    os.umask(umask)
    found = {
        "environ": [item for item in os.environ.items() if item[0] not in ("SCGID_WORKER", "POINTS_DIR")],
        "worker": os.environ["SCGID_WORKER"].isdigit(),
        "pgid": named(os.getpgid(0)), "sid": named(os.getsid(0)), "parent": os.getppid(),
        "nice": os.nice(0), "groups": os.getgroups(), "ids": os.getresuid() + os.getresgid(), "umask": umask,
        "cwd": os.getcwd(), "argv": sys.argv, "orig_argv": getattr(sys, "orig_argv", None), "path": sys.path,
        "cgroup": read("cgroup"), "descriptors": descriptors(),
        "scheduler": [os.sched_getscheduler(0), sorted(os.sched_getaffinity(0)), os.sched_getparam(0).sched_priority],
        "locale": [locale.setlocale(n) for n in (locale.LC_ALL, locale.LC_CTYPE, locale.LC_TIME)],
        "encoding": [sys.getfilesystemencoding(), locale.getpreferredencoding(False), sys.getdefaultencoding()],
        "streams": [[s.encoding, s.errors, s.line_buffering, s.fileno(), type(s).__name__, s.isatty()] for s in (sys.stdout, sys.stderr)],
        "stdin": [sys.stdin.encoding, sys.stdin.errors, sys.stdin.fileno()],
        "main": sorted(vars(sys.modules["__main__"])), "builtins": sorted(vars(builtins)),
        "flags": list(sys.flags), "warnings": [str(f) for f in warnings.filters], "warnoptions": sys.warnoptions,
        "hooks": [sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__, threading.excepthook is threading.__excepthook__],
        "gc": [gc.isenabled(), gc.get_threshold(), gc.get_debug()], "recursion": sys.getrecursionlimit(),
        "switch": sys.getswitchinterval(), "tracing": [sys.gettrace(), sys.getprofile()],
        "threads": [t.name for t in threading.enumerate()], "tasks": len(os.listdir("/proc/self/task")),
        "main thread": [threading.main_thread() is threading.current_thread(), threading.main_thread().native_id == os.getpid(),
            threading.main_thread().ident == threading.get_ident(), threading.stack_size()],
        "timers": [signal.getitimer(n) for n in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)],
        "executable": [sys.executable, sys.prefix, sys.exec_prefix, sys.base_prefix],
        "meta": [str(f).split(" at 0x")[0] for f in sys.meta_path], "bytecode": sys.dont_write_bytecode,
        "terminal": [os.isatty(n) for n in range(3)], "children": read("task/%d/children" % os.getpid()),
        "socket timeout": socket.getdefaulttimeout(), "module": __name__,
    }
    for name in dir(resource):
        if name.startswith("RLIMIT_"):
            found["rlimit." + name] = resource.getrlimit(getattr(resource, name))
    for number in signal.valid_signals():
        found["signal.%d" % number] = repr(signal.getsignal(number)).split(" at 0x")[0]
    for name in "comm cmdline oom_score_adj oom_adj coredump_filter personality loginuid sessionid timerslack_ns uid_map root exe".split():
        found["proc." + name] = read(name) if name not in ("root", "exe") else os.readlink("/proc/self/" + name)
    for name in os.listdir("/proc/self/ns"):
        found["ns." + name] = os.readlink("/proc/self/ns/" + name)
    found.update(status())
    return found


IMPORT = dict(points(), modules=MODULES)


def application(env, start):
    here = os.environ["POINTS_DIR"]
    open("%s/%d" % (here, os.getpid()), "w").close()
    while len(os.listdir(here)) < int(os.environ["POINTS_ALL"]):
        time.sleep(0.01)  # until each worker has a request
    start("200 OK", [("Content-Type", "application/json")])
    wsgi = {k: repr(v).split(" at 0x")[0] for k, v in env.items() if k.startswith(("wsgi.", "scgid.")) and k not in ("scgid.waited", "scgid.worker")}
    return [json.dumps({"pid": os.getpid(), "import": IMPORT, "request": dict(points(), wsgi=wsgi), "id": env["scgid.worker"], "var": os.environ["SCGID_WORKER"]}).encode()]
