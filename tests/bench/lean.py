"""The yardstick: a Django page with session, user, one indexed select and 25 rows in a template. Three statements.

Served as `tests.bench.lean:application` by the same server, on the same database, with nothing else around it.
"""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.lean_settings")

from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.template import Context, Engine
from django.urls import path

application = get_wsgi_application()

from portal.jobs.models import Job  # noqa: E402 - models need the application first

TEMPLATE = Engine().from_string(
    "<html><body><h1>{{ user.email }}</h1><table>{% for job in jobs %}"
    "<tr><td>{{ job.code }}</td><td>{{ job.name }}</td><td>{{ job.state }}</td>"
    "<td>{{ job.submitted_at }}</td><td>{{ job.cost }}</td></tr>{% endfor %}</table></body></html>"
)


def page(request: HttpRequest) -> HttpResponse:
    jobs = Job.objects.filter(submitted_by=request.user).order_by("-id")[:25]
    return HttpResponse(TEMPLATE.render(Context({"user": request.user, "jobs": jobs})))


urlpatterns = [path("lean/", page)]
