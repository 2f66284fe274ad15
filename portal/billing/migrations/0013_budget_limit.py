from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0012_sums_of_before")]
    operations = [
        # The column keeps its name, so that the release before goes on reading and writing it.
        migrations.AlterField("budget", "monthly_limit", models.PositiveBigIntegerField(db_column="monthly_limit")),
        migrations.RenameField("budget", "monthly_limit", "limit"),
    ]
