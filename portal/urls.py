"""The site map, in menu order."""

from django.conf import settings
from django.urls import include, path

from portal.jobs.urls import for_desk, for_machines

urlpatterns = [
    path("", include("portal.home.urls")),
    path("catalog/", include("portal.catalog.urls")),
    path("jobs/", include("portal.jobs.urls")),
    path("datasets/", include("portal.datasets.urls")),
    path("usage/", include("portal.billing.urls")),
    path("", include("portal.accounts.urls")),
    path("desk/", include("portal.catalog.desk_urls")),
    path("desk/usage/", include(for_desk)),
    path("machine/", include(for_machines)),
    path("account/", include("allauth.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
]
if not settings.PRODUCTION:
    urlpatterns.append(path("dev/", include("portal.home.dev_urls")))

handler400 = "portal.core.error_pages.bad_request"
handler403 = "portal.home.views.permission_denied"
handler404 = "portal.core.error_pages.page_not_found"
handler429 = "portal.core.error_pages.too_many_requests"  # asked by allauth's limits
handler500 = "portal.home.views.server_error"
