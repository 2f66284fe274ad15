from django.urls import path

from portal.home import onboarding, views

app_name = "home"
urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("start/", onboarding.start, name="start"),
    path("status/", views.status, name="status"),
    path("help/", views.help_page, name="help"),
    path("placement/", views.placement, name="placement"),
    path("licences/", views.licences, name="licences"),
    path("theme/", views.theme, name="theme"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
]
