from django.urls import path

from portal.catalog import views

app_name = "catalog"
urlpatterns = [
    path("", views.offer_list, name="list"),
    path("offers.csv", views.offers_csv, name="csv"),
]
