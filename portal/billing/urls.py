from django.urls import path

from portal.billing.views import budgets, drilling, focus, invoices, usage

app_name = "usage"
urlpatterns = [
    path("", usage.overview, name="overview"),
    path("csv/", usage.csv, name="csv"),
    path("people/", drilling.people, name="people"),
    path("jobs/", drilling.jobs, name="jobs"),
    path("jobs/<str:code>/", drilling.job, name="job"),
    path("focus/", focus.focus, name="focus"),
    path("budget/", usage.budget, name="budget"),
    path("invoices/", invoices.invoice_list, name="invoices"),
    path("invoices/address/", invoices.address, name="invoice_address"),
    path("invoices/<str:number>/", invoices.invoice, name="invoice"),
    path("invoices/<str:number>/pdf/", invoices.pdf, name="invoice_pdf"),
    path("invoices/<str:number>/csv/", invoices.csv, name="invoice_csv"),
    path("budgets/", budgets.overview, name="budgets"),
    path("budgets/new/", budgets.new, name="budget_new"),
    path("budgets/<int:pk>/", budgets.edit, name="budget_edit"),
    path("budgets/<int:pk>/remove/", budgets.remove, name="budget_remove"),
    path("requests/<str:code>/", budgets.request_page, name="request"),
]
