# SPDX-License-Identifier: MIT
"""The application of "make demo": a page that shows its request, its worker
and the pool. Serve it with: scgid run --http 127.0.0.1:8080 -- scgi_wsgi.py demo"""

import os
import time
from html import escape
from urllib.parse import parse_qsl

MAX_FORM = 65536  # bytes of a posted form that are read
started = time.time()
served = 0

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --mark: #2a7; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 58rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; }
.lead { opacity: .75; margin-top: .2rem; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; }
.card { border: 1px solid var(--line); border-radius: .6rem; padding: .6rem 1rem; min-width: 7rem; }
.card b { display: block; font-size: 1.25rem; } .card span { opacity: .7; font-size: .85rem; }
.pool span { display: inline-block; border-radius: .4rem; background: var(--soft); padding: .15rem .6rem; margin: .15rem; }
.pool .self { background: var(--mark); color: #fff; }
table { border-collapse: collapse; width: 100%; font: .85rem/1.4 ui-monospace, monospace; }
td { border-top: 1px solid var(--line); padding: .25rem .5rem; vertical-align: top; overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; opacity: .8; }
input, button { font: inherit; padding: .35rem .7rem; border-radius: .4rem; border: 1px solid var(--line); }
.echo { border-left: .25rem solid var(--mark); padding: .3rem .8rem; background: var(--soft); white-space: pre-wrap; }
"""

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>scgid demo</title><style>%(style)s</style></head><body>
<h1>It works.</h1>
<p class="lead">%(method)s %(uri)s</p>
<h2>Who answered</h2><div class="cards">%(cards)s</div>
<h2>The pool</h2><p class="pool">%(pool)s</p>
<h2>A form</h2>
<form method="post" action="%(action)s"><input name="text" placeholder="Say something" autofocus>
<button>Send by POST</button></form>
%(echo)s
<h2>The request, as the application sees it</h2><table>%(rows)s</table>
</body></html>
"""


def application(env, start_response):
    global served
    served += 1
    if env["REQUEST_METHOD"] not in ("GET", "HEAD", "POST"):
        start_response("405 Method Not Allowed", [("Content-Type", "text/plain"), ("Allow", "GET, HEAD, POST")])
        return [b"This page knows GET, HEAD and POST.\n"]
    page = PAGE % {
        "style": STYLE,
        "method": show(env["REQUEST_METHOD"]),
        "uri": show(env.get("REQUEST_URI") or env["SCRIPT_NAME"] + env["PATH_INFO"]),
        "action": show(env["SCRIPT_NAME"] or "/"),
        "cards": cards(env),
        "pool": pool(),
        "echo": echo(env),
        "rows": rows(env),
    }
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")]
    start_response("200 OK", headers)
    return [page.encode("utf-8")]


def show(text):
    """WSGI strings are bytes in disguise: shows them as the UTF-8 they mostly are."""
    return escape(text.encode("latin-1", "replace").decode("utf-8", "replace"))


def cards(env):
    facts = [
        ("process", os.getpid()),
        ("worker", env.get("scgid.worker") or "-"),
        ("pool", env.get("scgid.pool") or "-"),
        ("generation", env.get("scgid.generation") or "-"),
        ("waited for a worker", "%.1f ms" % (1000 * env.get("scgid.waited", 0))),
        ("requests served here", served),
        ("worker's age", "%.0f s" % (time.time() - started)),
    ]
    return "".join("<div class=card><b>%s</b><span>%s</span></div>" % (escape(str(v)), k) for k, v in facts)


def siblings():
    """The master's children: our process and those like it; [] where /proc hides them.

    Each thread lists its own, and any thread of the master may have started us.
    """
    tasks = "/proc/%d/task" % os.getppid()
    pids = []
    try:
        for task in os.listdir(tasks):
            with open("%s/%s/children" % (tasks, task)) as file:
                pids.extend(int(pid) for pid in file.read().split())
    except (OSError, ValueError):
        pass  # hidden, or a thread that has just ended
    return sorted(pids)


def pool():
    mine = os.getpid()
    pids = siblings()
    if mine not in pids:
        return "The system does not show the master's other workers. This one is %d." % mine
    spans = ['<span class="self" title="this one">%d</span>' % p if p == mine else "<span>%d</span>" % p for p in pids]
    return " ".join(spans)


def echo(env):
    if env["REQUEST_METHOD"] != "POST":
        return ""
    size = int(env.get("CONTENT_LENGTH") or 0)
    if size > MAX_FORM:
        return "<p class=echo>That was %d bytes; this page reads %d.</p>" % (size, MAX_FORM)
    form = env["wsgi.input"].read(size)
    fields = parse_qsl(form.decode("utf-8", "replace"), keep_blank_values=True)
    lines = "\n".join("%s = %s" % (escape(name), escape(value)) for name, value in fields)
    return "<p class=echo>%s</p>" % (lines or escape(form.decode("utf-8", "replace")))


def rows(env):
    return "".join(
        "<tr><td>%s</td><td>%s</td></tr>" % (show(name), show(value if isinstance(value, str) else repr(value)))
        for name, value in sorted(env.items())
    )
