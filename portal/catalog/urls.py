from django.urls import path

from portal.catalog import views, waitlist_views

app_name = "catalog"
urlpatterns = [
    path("", views.offer_list, name="list"),
    path("choose/", views.choose, name="choose"),
    path("offers.csv", views.offers_csv, name="csv"),
    path("waitlist/", waitlist_views.waitlist, name="waitlist"),
    path("waitlist/<int:pk>/leave/", waitlist_views.leave_line, name="leave_line"),
]
