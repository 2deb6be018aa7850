import os

import flask
import probe

application = flask.Flask(__name__)
application.secret_key = "not a secret"
application.config["PROPAGATE_EXCEPTIONS"] = False
application.config["MAX_COOKIE_SIZE"] = 0  # of any size, without a complaint
request = flask.request


def bare(code):
    reply = flask.Response(status=code)
    del reply.headers["Content-Type"]
    return reply


@application.route("/form", methods=["GET", "POST"])
def form():
    files = {name: dict(probe.digest(f.stream.read), name=f.filename) for name, f in request.files.items()}
    return flask.jsonify(query=request.args, form=request.form, files=files)


@application.route("/take", methods=["POST", "PUT"])
@application.route("/upload/take", methods=["POST", "PUT"])
def take():
    return flask.jsonify(probe.digest(request.stream.read, request.args.get("token")))


@application.route("/early", methods=["POST"])
def early():
    return "early\n"


@application.route("/echo", methods=["POST"])
def echo():
    return flask.Response(probe.echo(request.stream.read), mimetype="application/octet-stream")


@application.route("/bytes")
def bytes():
    size = int(request.args["size"])
    reply = flask.Response(probe.blocks(size, request.args.get("token")), mimetype="application/octet-stream")
    reply.headers["Content-Length"] = str(size)
    if "flow" in request.args:
        reply.headers["X-Accel-Buffering"] = "no"
    return reply


@application.route("/file")
def file():
    return flask.send_file(os.environ["LARGE"], mimetype="application/octet-stream")


@application.route("/stream")
def stream():
    reply = flask.Response(probe.halves(request.args["token"]), mimetype="text/plain")
    reply.headers["X-Accel-Buffering"] = "no"
    return reply


@application.route("/hold")
def hold():
    probe.say(request.args["token"], "held")
    probe.wait(request.args["token"])
    return "released\n"


@application.route("/visits")
def visits():
    flask.session["visits"] = flask.session.get("visits", 0) + 1
    return str(flask.session["visits"])


@application.route("/cookies")
def cookies():
    reply = flask.jsonify(request.cookies)
    reply.set_cookie("one", "1")
    reply.set_cookie("two", "2", path="/cookies", httponly=True)
    reply.set_cookie("long", "x" * int(request.args.get("long", "0")))
    return reply


@application.route("/redirect", methods=["GET", "POST"])
def redirect():
    reply = flask.Response("moved\n", status=int(request.args["code"]), mimetype="text/plain")
    reply.autocorrect_location_header = False
    reply.headers["Location"] = request.args["to"]
    return reply


@application.route("/status/<int:code>")
def status(code):
    if code in (204, 304):
        return bare(code)
    return flask.Response("status %d\n" % code, status=code, mimetype="text/plain")


@application.route("/boom")
def boom():
    raise RuntimeError("boom")


@application.route("/pid")
def pid():
    return str(os.getpid())


@application.route("/env", methods=["GET", "POST", "OPTIONS"])
@application.route("/path/<path:rest>")
def env(rest=None):
    values = probe.strings(request.environ)
    values["scheme"] = request.scheme
    values["text"] = request.path
    return flask.jsonify(values)
