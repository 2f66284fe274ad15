from django.urls import path

from portal.billing.views import budgets, usage

app_name = "usage"
urlpatterns = [
    path("", usage.overview, name="overview"),
    path("csv/", usage.csv, name="csv"),
    path("budget/", usage.budget, name="budget"),
    path("budgets/", budgets.overview, name="budgets"),
    path("budgets/new/", budgets.new, name="budget_new"),
    path("budgets/<int:pk>/", budgets.edit, name="budget_edit"),
    path("budgets/<int:pk>/remove/", budgets.remove, name="budget_remove"),
    path("requests/<str:code>/", budgets.request_page, name="request"),
]
