from django.urls import path

from portal.billing.views import focus, invoices, usage

app_name = "usage"
urlpatterns = [
    path("", usage.overview, name="overview"),
    path("csv/", usage.csv, name="csv"),
    path("focus/", focus.focus, name="focus"),
    path("budget/", usage.budget, name="budget"),
    path("invoices/", invoices.invoice_list, name="invoices"),
    path("invoices/address/", invoices.address, name="invoice_address"),
    path("invoices/<str:number>/", invoices.invoice, name="invoice"),
    path("invoices/<str:number>/pdf/", invoices.pdf, name="invoice_pdf"),
    path("invoices/<str:number>/csv/", invoices.csv, name="invoice_csv"),
]
