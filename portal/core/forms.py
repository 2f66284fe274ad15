from __future__ import annotations

from typing import Any

from django.forms import BoundField, CheckboxInput, Select, Widget
from django.forms.renderers import TemplatesSetting
from django.forms.widgets import ChoiceWidget, FileInput


class PortalBoundField(BoundField):
    """Gives controls the class that the style sheet knows, so that forms need no widget attributes for their looks."""

    def build_widget_attrs(self, attrs: dict[str, Any], widget: Widget | None = None) -> dict[str, Any]:
        attrs = super().build_widget_attrs(attrs, widget)
        widget = widget or self.field.widget
        if look := _look(widget):
            attrs["class"] = " ".join(filter(None, (look, widget.attrs.get("class"))))
        return attrs

    @property
    def is_single_checkbox(self) -> bool:
        return isinstance(self.field.widget, CheckboxInput)

    @property
    def need(self) -> Any:
        """What stands beside the label where neither "required" nor "optional" is the truth: the field's own `need`."""
        return getattr(self.field, "need", "")

    @property
    def look(self) -> str:
        """How a group of choices is drawn: as "pills", or plainly when empty."""
        return str(self.field.widget.attrs.get("data-look", ""))


class PortalRenderer(TemplatesSetting):
    """Forms look as templates/components/field.html says: label, hint, control, error."""

    form_template_name = "components/form.html"
    field_template_name = "components/field.html"
    bound_field_class = PortalBoundField


def _look(widget: Widget) -> str:
    if isinstance(widget, Select):
        return "select"
    if widget.is_hidden or isinstance(widget, (CheckboxInput, ChoiceWidget, FileInput)):
        return ""
    return "input"
