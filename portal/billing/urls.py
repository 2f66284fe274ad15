from django.urls import path

from portal.billing import views

app_name = "usage"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("csv/", views.csv, name="csv"),
    path("budget/", views.budget, name="budget"),
]
