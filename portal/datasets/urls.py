from django.urls import path

from portal.datasets.views import (
    allowances,
    certificates,
    expiry,
    fetching,
    files,
    pages,
    places,
    previewing,
    residency,
    sending,
    sharing,
    terminal,
    versions,
)

app_name = "datasets"
urlpatterns = [
    path("", pages.dataset_list, name="list"),
    # Sending: upload.js and portal-upload.py talk to these, and a browser without script to form, send and posted.
    path("begin/", sending.begin, name="begin"),
    path("form/", sending.plain, name="form"),
    path("token/", terminal.token, name="token"),
    path("files/<str:code>/parts/", sending.parts, name="parts"),
    path("files/<str:code>/complete/", sending.complete, name="complete"),
    path("files/<str:code>/cancel/", sending.cancel, name="cancel"),
    path("files/<str:code>/send/", sending.send, name="send"),
    path("files/<str:code>/posted/", sending.posted, name="posted"),
    path("files/states/", files.states, name="states"),
    path("files/<str:code>/download/", files.download, name="download"),
    path("files/<str:code>/preview/", previewing.page, name="preview"),
    path("files/<str:code>/preview/content/", previewing.content, name="preview_content"),
    path("files/<str:code>/delete/", files.delete, name="delete"),
    # Versions.
    path("<str:code>/versions/", versions.make_version, name="make_version"),
    path("<str:code>/versions/<int:number>/", versions.version, name="version"),
    path("<str:code>/versions/<int:number>/manifest/", versions.manifest, name="manifest"),
    path("<str:code>/versions/<int:number>/download/", versions.download, name="version_download"),
    path("fetch/<str:token>/", fetching.fetch, name="fetch"),
    path("fetch/<str:token>/<str:code>/", fetching.fetch_file, name="fetch_file"),
    # Care: what is kept, for how long, and what was removed.
    path("storage/", allowances.storage, name="storage"),
    path("certificates/", certificates.certificate_list, name="certificates"),
    path("certificates/<str:code>/", certificates.certificate, name="certificate"),
    path("certificates/<str:code>/json/", certificates.as_json, name="certificate_json"),
    path("<str:code>/", pages.detail, name="detail"),
    path("<str:code>/last-day/", expiry.last_day, name="last_day"),
    # Where it is kept, and was.
    path("<str:code>/places/", places.places, name="places"),
    path("<str:code>/residency/", residency.page, name="residency"),
    path("<str:code>/residency.csv", residency.as_csv, name="residency_csv"),
    path("<str:code>/residency.json", residency.as_json, name="residency_json"),
    path("<str:code>/delete/", pages.delete_dataset, name="delete_dataset"),
    # Sharing.
    path("<str:code>/sharing/", sharing.page, name="sharing"),
    path("<str:code>/sharing/<int:pk>/end/", sharing.end, name="end_share"),
]
