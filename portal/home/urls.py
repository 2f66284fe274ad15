from django.urls import path

from portal.home import onboarding

app_name = "home"
urlpatterns = [
    path("start/", onboarding.start, name="start"),
]
