from django.urls import path

from portal.jobs.views import (
    artifacts,
    claiming,
    comparing,
    creating,
    differences,
    extending,
    listing,
    logs,
    many,
    moving,
    residency,
    saving,
    showing,
    stopping,
    sweeps,
)

app_name = "jobs"
urlpatterns = [
    path("", listing.job_list, name="list"),
    path("new/", creating.new, name="new"),
    path("new/quote/", creating.quote_now, name="quote"),
    path("new/tasks/", creating.many, name="many"),
    path("new/draft/", creating.draft, name="draft"),
    path("sweeps/", sweeps.sweep_list, name="sweeps"),
    path("sweeps/<str:code>/", sweeps.detail, name="sweep"),
    path("sweeps/<str:code>/tasks.csv", sweeps.csv, name="sweep_csv"),
    path("sweeps/<str:code>/stop/", sweeps.stop, name="sweep_stop"),
    path("sweeps/<str:code>/again/", sweeps.again, name="sweep_again"),
    path("jobs.csv", listing.as_csv, name="csv"),
    path("views/", saving.views, name="views"),
    path("compare/", comparing.compare, name="compare"),
    path("many/stop/", many.stop, name="stop_many"),
    path("many/copy/", many.copy, name="copy_many"),
    path("<str:code>/", showing.detail, name="detail"),
    path("<str:code>/events/", showing.events, name="events"),
    path("<str:code>/config/", showing.config, name="config"),
    path("<str:code>/artifacts/", showing.artifacts, name="artifacts"),
    path("<str:code>/artifacts/keep/", artifacts.keep, name="keep"),
    path("<str:code>/artifacts/<int:pk>/", showing.artifact, name="artifact"),
    path("<str:code>/artifacts/<int:pk>/preview/", artifacts.preview, name="artifact_preview"),
    path("<str:code>/artifacts/<int:pk>/preview/content/", artifacts.content, name="artifact_content"),
    path("<str:code>/residency/", residency.page, name="residency"),
    path("<str:code>/residency.csv", residency.as_csv, name="residency_csv"),
    path("<str:code>/residency.json", residency.as_json, name="residency_json"),
    path("<str:code>/lines/", logs.lines, name="lines"),
    path("<str:code>/log/", logs.download, name="log"),
    path("<str:code>/stop/", stopping.stop, name="stop"),
    path("<str:code>/move/", moving.move_job, name="move"),
    path("<str:code>/extend/", extending.more_time, name="extend"),
]
for_machines = ([path("claims/<str:token>/", claiming.claim, name="claim")], "machine")
for_desk = (
    [
        path("", differences.differences, name="list"),
        path("<int:pk>/", differences.difference, name="one"),
    ],
    "differences",
)
