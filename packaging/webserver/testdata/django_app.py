import os

import probe
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, re_path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="not a secret",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.common.CommonMiddleware"],
    DATA_UPLOAD_MAX_MEMORY_SIZE=1 << 20,
    USE_TZ=True,
)


def bare(code):
    reply = HttpResponse(status=code)
    del reply["Content-Type"]
    return reply


def form(request):
    files = {name: dict(probe.digest(f.read), name=f.name) for name, f in request.FILES.items()}
    return JsonResponse({"query": request.GET.dict(), "form": request.POST.dict(), "files": files})


def take(request):
    return JsonResponse(probe.digest(request.read, request.GET.get("token")))


def early(request):
    return HttpResponse("early\n")


def echo(request):
    return StreamingHttpResponse(probe.echo(request.read), content_type="application/octet-stream")


def bytes(request):
    size = int(request.GET["size"])
    reply = StreamingHttpResponse(probe.blocks(size, request.GET.get("token")), content_type="application/octet-stream")
    reply["Content-Length"] = str(size)
    if "flow" in request.GET:
        reply["X-Accel-Buffering"] = "no"
    return reply


def file(request):
    return FileResponse(open(os.environ["LARGE"], "rb"), content_type="application/octet-stream")


def stream(request):
    reply = StreamingHttpResponse(probe.halves(request.GET["token"]), content_type="text/plain")
    reply["X-Accel-Buffering"] = "no"
    return reply


def hold(request):
    probe.say(request.GET["token"], "held")
    probe.wait(request.GET["token"])
    return HttpResponse("released\n")


def visits(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


def cookies(request):
    reply = JsonResponse(request.COOKIES)
    reply.set_cookie("one", "1")
    reply.set_cookie("two", "2", path="/cookies", httponly=True)
    reply.set_cookie("long", "x" * int(request.GET.get("long", "0")))
    return reply


def redirect(request):
    reply = HttpResponse("moved\n", status=int(request.GET["code"]), content_type="text/plain")
    reply["Location"] = request.GET["to"]
    return reply


def status(request, code):
    if code in (204, 304):
        return bare(code)
    return HttpResponse("status %d\n" % code, status=code, content_type="text/plain")


def boom(request):
    raise RuntimeError("boom")


def pid(request):
    return HttpResponse(str(os.getpid()))


def env(request, rest=None):
    values = probe.strings(request.META)
    values["scheme"] = request.scheme
    values["text"] = request.path
    return JsonResponse(values)


urlpatterns = [
    path("form", form),
    path("take", take),
    path("upload/take", take),
    path("early", early),
    path("echo", echo),
    path("bytes", bytes),
    path("file", file),
    path("stream", stream),
    path("hold", hold),
    path("visits", visits),
    path("cookies", cookies),
    path("redirect", redirect),
    path("status/<int:code>", status),
    path("boom", boom),
    path("pid", pid),
    path("env", env),
    re_path("^path/(?P<rest>.*)$", env),
]
application = get_wsgi_application()
