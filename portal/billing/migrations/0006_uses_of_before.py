"""Which credits the charges of before were taken from: as the credits are used up in order, by running sums."""

from django.db import migrations

from portal.core.append_only import append_only

# What each charge and each credit cover of all yen spent, as ranges; where two overlap, the charge used the credit.
FILL = """
WITH charge AS (
    SELECT id, organization_id, amount, sum(amount) OVER (PARTITION BY organization_id ORDER BY id) AS up_to
    FROM billing_charge WHERE amount > 0
), credit AS (
    SELECT id, organization_id, used,
        sum(used) OVER (PARTITION BY organization_id ORDER BY expires_at NULLS LAST, id) AS up_to
    FROM billing_credit WHERE used > 0
)
INSERT INTO billing_credituse (charge_id, credit_id, amount)
SELECT charge.id, credit.id,
    least(charge.up_to, credit.up_to) - greatest(charge.up_to - charge.amount, credit.up_to - credit.used)
FROM charge JOIN credit USING (organization_id)
WHERE charge.up_to > credit.up_to - credit.used AND credit.up_to > charge.up_to - charge.amount
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_credit_use")]
    operations = [
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        append_only("billing_credituse"),
    ]
