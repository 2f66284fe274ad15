from django.urls import path

from portal.billing.views import usage

app_name = "usage"
urlpatterns = [
    path("", usage.overview, name="overview"),
    path("csv/", usage.csv, name="csv"),
    path("budget/", usage.budget, name="budget"),
]
