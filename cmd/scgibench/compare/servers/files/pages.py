"""A small Django site: / says hello, /rows is a page of 50 rows that come from a
database and go through a template. pages.py makes the database.
"""

import os
import sys
import time

import django
from django.conf import settings

HERE = os.path.dirname(os.path.abspath(__file__))
settings.configure(
    SECRET_KEY="scgibench",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(HERE, "pages.sqlite")}},
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    (
                        "django.template.loaders.locmem.Loader",
                        {
                            "rows.html": """<!DOCTYPE html><title>{{ title }}</title><table>
{% for r in rows %}<tr class="{% cycle 'odd' 'even' %}"><td>{{ r.id }}<td>{{ r.name }}<td>{{ r.price|floatformat:2 }}
{% empty %}<tr><td>none{% endfor %}</table>"""
                        },
                    )
                ]
            },
        }
    ],
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.shortcuts import render  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402


class Row(models.Model):
    name = models.CharField(max_length=100)
    price = models.FloatField()

    class Meta:
        app_label = "pages"


def hello(request):
    return HttpResponse(b"Hello from scgibench", content_type="text/plain")


def rows(request):
    return render(request, "rows.html", {"title": "50 rows", "rows": Row.objects.order_by("id")[:50]})


@csrf_exempt
def sleep(request):
    begin = time.time_ns()
    time.sleep(0.05)
    return HttpResponse(b"%d %d" % (os.getpid(), begin), content_type="text/plain")


urlpatterns = [path("", hello), path("rows", rows), path("sleep", sleep)]

if __name__ == "__main__":
    with connection.schema_editor() as schema:
        schema.create_model(Row)
    Row.objects.bulk_create(Row(name="<row %d>" % n, price=n * 1.25) for n in range(200))
    sys.exit(0)

application = get_wsgi_application()
