"""The last day of a dataset."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from portal.accounts.access import require
from portal.accounts.roles import Permission
from portal.datasets.expiry import ExpiryRefused, set_last_day
from portal.datasets.forms import LastDayForm
from portal.datasets.views.finding import find_dataset, user_of


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def last_day(request: HttpRequest, code: str) -> HttpResponse:
    dataset = find_dataset(request, code)
    require(request.user, Permission.UPLOAD, dataset.project)
    if dataset.removed_at:
        return redirect("datasets:detail", dataset.code)
    form = LastDayForm(request.POST if request.method == "POST" else None, initial={"last_day": dataset.last_day})
    if form.is_bound and form.is_valid():
        try:
            set_last_day(dataset, form.cleaned_data["last_day"], by=user_of(request))
        except ExpiryRefused as why:
            form.add_error("last_day", why)
        else:
            messages.success(request, _("The last day is saved."))
            return redirect("datasets:detail", dataset.code)
    context = {"dataset": dataset, "form": form}
    return render(request, "datasets/last_day.html", context, status=422 if form.errors else 200)
