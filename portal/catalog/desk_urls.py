from django.urls import path

from portal.catalog import desk_views

app_name = "desk"
urlpatterns = [
    path("catalog/", desk_views.offerings, name="offerings"),
    path("catalog/new/", desk_views.new_offering, name="offering_new"),
    path("catalog/<slug:slug>/", desk_views.offering, name="offering"),
    path("catalog/<slug:slug>/price/", desk_views.new_price, name="price_new"),
    path("catalog/<slug:slug>/confirm/", desk_views.confirm, name="confirm"),
    path("catalog/<slug:slug>/prices/<int:pk>/confirm/", desk_views.confirm_price, name="confirm_price"),
    path("catalog/<slug:slug>/end/", desk_views.end, name="end"),
    path("catalog/<slug:slug>/back/", desk_views.bring_back, name="bring_back"),
]
