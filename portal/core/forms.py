from django.forms.renderers import TemplatesSetting


class PortalRenderer(TemplatesSetting):
    """Forms look as templates/components/field.html says: label, hint, control, error."""

    field_template_name = "components/field.html"
