from django.db import migrations

from portal.core.append_only import append_only, never_emptied

TABLES = ("issuer", "invoice", "invoiceline", "invoicetax", "payment", "invoicedocument")


class Migration(migrations.Migration):
    dependencies = [("billing", "0009_invoices")]
    operations = [
        operation(f"billing_{table}") for table in TABLES for operation in (append_only, never_emptied)
    ] + [never_emptied("billing_credituse")]
