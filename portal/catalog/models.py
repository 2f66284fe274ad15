from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from portal.accounts.models import Organization, User
from portal.catalog.sources import words
from portal.core.sealing import seal, unseal

LONGEST_RUN_S = 20 * 86_400  # of any job: Sakura DOK's own longest


class Bilingual(models.Model):
    """A name that providers give in Japanese and English."""

    name_ja = models.CharField(max_length=80)
    name_en = models.CharField(max_length=80)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        return self.name_en if (get_language() or "ja").startswith("en") else self.name_ja


class Provider(Bilingual):
    """Alliance member that hosts machines. `slug` is also its colour and mark on the page."""

    slug = models.SlugField(unique=True)  # kddi, sakura, highreso
    short_ja = models.CharField(max_length=40)
    short_en = models.CharField(max_length=40)
    position = models.PositiveSmallIntegerField(default=0)  # order in legends; never a ranking

    @property
    def short_name(self) -> str:
        return self.short_en if (get_language() or "ja").startswith("en") else self.short_ja


class Site(Bilingual):
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="sites")
    slug = models.SlugField(unique=True)
    prefecture_ja = models.CharField(max_length=40)
    prefecture_en = models.CharField(max_length=40)
    country = models.CharField(max_length=2, default="JP")
    source = models.CharField(max_length=200)
    as_of = models.DateField()
    confirmed = models.BooleanField(default=False)

    @property
    def prefecture(self) -> str:
        return self.prefecture_en if (get_language() or "ja").startswith("en") else self.prefecture_ja


class OfferingKind(models.TextChoices):
    JOB = "job", _("Jobs")
    VM = "vm", _("Virtual machine")
    BARE_METAL = "bare_metal", _("Bare metal")
    NODE = "node", _("Dedicated node")
    CONTRACT = "contract", _("Contract")


class Architecture(models.TextChoices):
    AMD64 = "amd64", "x86_64"
    ARM64 = "arm64", "Arm (arm64)"


class SaleForm(models.TextChoices):
    """Under whose name a member sells another's machines (PRODUCT.md, "What each charge remembers")."""

    NAMED = "named", _("Named")
    WHITE_LABEL = "white_label", _("White label")

    @classmethod
    def of(cls, *, contracting: int, service: int, host: int) -> SaleForm:
        """It follows from the three members, of an offering as of a charge: no second fact that could contradict."""
        return cls.WHITE_LABEL if service == contracting != host else cls.NAMED


class Offering(Bilingual):
    """What a provider lists. `plan` is the provider's own id for it."""

    slug = models.SlugField(unique=True)
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="offerings")
    site = models.ForeignKey(Site, on_delete=models.PROTECT, null=True, blank=True)
    kind = models.CharField(max_length=12, choices=OfferingKind.choices)
    gpu_model = models.CharField(max_length=20)  # "H100", "GB200"; "" where the provider does not state it
    gpu_memory_gb = models.PositiveIntegerField(null=True, blank=True)  # per GPU
    gpus_min = models.PositiveIntegerField(default=1)
    gpus_max = models.PositiveIntegerField(default=1)
    gpus_step = models.PositiveIntegerField(default=1)
    gpus_per_node = models.PositiveIntegerField(default=8)
    architecture = models.CharField(max_length=8, choices=Architecture.choices)
    architecture_confirmed = models.BooleanField(default=True)
    cpu_cores = models.PositiveIntegerField(null=True, blank=True)
    memory_gb = models.PositiveIntegerField(null=True, blank=True)
    disk_gb = models.PositiveIntegerField(null=True, blank=True)
    interconnect = models.CharField(max_length=80, blank=True)
    plan = models.CharField(max_length=60, blank=True)
    adapter = models.CharField(max_length=20, blank=True)  # which kind of ProviderAccount runs it; "" = nobody yet
    containers = models.BooleanField(default=False)  # needs a container image
    on_request = models.BooleanField(default=False)  # price or capacity only by inquiry (要問合せ)
    # Of the prices by hour, day and month the cheapest mix is charged (高火力 VRT); else the customer chooses one.
    best_of_units = models.BooleanField(default=False)
    time_limit_max_s = models.PositiveIntegerField(null=True, blank=True)
    note_ja = models.CharField(max_length=200, blank=True)
    note_en = models.CharField(max_length=200, blank=True)
    active = models.BooleanField(default=True)
    ends_on = models.DateField(null=True, blank=True)
    unlisted_since = models.DateTimeField(null=True, blank=True)  # the provider's own list has it no longer
    source = models.CharField(max_length=200)
    as_of = models.DateField()
    confirmed = models.BooleanField(default=False)
    demo_only = models.BooleanField(default=False)  # exists so that the demo can run work; never in production
    # Whose name the service bears and whose machine it is (PRODUCT.md, "What each charge remembers").
    contracting_member = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    service_member = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    host_member = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")

    @property
    def note(self) -> str:
        return self.note_en if (get_language() or "ja").startswith("en") else self.note_ja

    @property
    def sale_form(self) -> SaleForm:
        return SaleForm.of(
            contracting=self.contracting_member_id, service=self.service_member_id, host=self.host_member_id
        )

    def allows_gpus(self, count: int) -> bool:
        return self.gpus_min <= count <= self.gpus_max and (count - self.gpus_min) % self.gpus_step == 0

    def nodes_for(self, gpus: int) -> int:
        return -(-gpus // self.gpus_per_node)


class PriceUnit(models.TextChoices):
    SECOND = "second", _("second")
    MINUTE = "minute", _("minute")
    HOUR = "hour", _("hour")
    DAY = "day", _("day")
    MONTH = "month", _("month")


class Price(models.Model):
    """A dated row, never edited: a change is a new row and an end for the old one."""

    offering = models.ForeignKey(Offering, on_delete=models.PROTECT, related_name="prices")
    unit = models.CharField(max_length=8, choices=PriceUnit.choices)
    amount = models.DecimalField(max_digits=14, decimal_places=6)  # yen for one unit
    per_gpu = models.BooleanField()  # False: for the whole plan, however many GPUs it has
    tax_included = models.BooleanField(default=True)
    tax_percent = models.DecimalField(max_digits=4, decimal_places=1, default=10)
    minimum_s = models.PositiveIntegerField(default=0)
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField(null=True, blank=True)
    source = models.CharField(max_length=200)
    as_of = models.DateField()
    confirmed = models.BooleanField(default=False)

    class Meta:
        indexes = [models.Index(fields=["offering", "-valid_from"], name="price_by_offering")]


class StoragePrice(models.Model):
    """What keeping data costs: a dated row, never edited. One holds from its instant until the next begins.

    `seller`: the member who invoices it; a price above zero has one.
    """

    amount = models.DecimalField(max_digits=14, decimal_places=6)  # yen for a GB (10^9 bytes) and a month of 30 days
    tax_included = models.BooleanField(default=True)
    tax_percent = models.DecimalField(max_digits=4, decimal_places=1, default=10)
    valid_from = models.DateTimeField(unique=True)
    source = models.CharField(max_length=200)
    as_of = models.DateField()
    seller = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+", null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount=0) | Q(seller__isnull=False), name="storage_price_has_a_seller")
        ]

    @property
    def is_free(self) -> bool:
        return not self.amount

    @property
    def source_words(self) -> str:
        return words(self.source)


class ProviderAccount(models.Model):
    """Credentials at one provider, serving one organization or, without one, everybody (shared pool)."""

    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="accounts")
    kind = models.CharField(max_length=20)  # portal.providers.registry
    endpoint = models.CharField(max_length=200)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, null=True, blank=True)
    sealed_credentials = models.TextField()
    options = models.JSONField(default=dict)
    emulated = models.BooleanField(default=False)
    active = models.BooleanField(default=True)
    # How many jobs it runs at once: more wait in the portal's own line. None: as many as the provider takes.
    concurrent_limit = models.PositiveSmallIntegerField(null=True, blank=True)
    # Health, fed by calls: portal.catalog.provider_accounts.
    last_ok_at = models.DateTimeField(null=True, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveSmallIntegerField(default=0)  # one after another
    paused_until = models.DateTimeField(
        null=True, blank=True
    )  # nobody calls before; later: when the circuit was closed
    last_error = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "kind", "organization"], nulls_distinct=False, name="account_once_per_pool"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk}"

    @property
    def is_paused(self) -> bool:
        """For the page. Who is about to call asks provider_accounts.unless_paused, by the database's clock."""
        return self.paused_until is not None and self.paused_until > timezone.now()

    def credentials(self) -> dict[str, str]:
        return unseal(self.sealed_credentials)

    def set_credentials(self, credentials: dict[str, str]) -> None:
        self.sealed_credentials = seal(credentials)


class AvailabilityState(models.TextChoices):
    AVAILABLE = "available", _("Available")
    FEW = "few", _("Few left")
    FULL = "full", _("Full")
    UNKNOWN = "unknown", _("Unknown")


class CapacityObservation(models.Model):
    """How much was free, and when somebody looked. The newest per offering is what the page shows, with its age."""

    offering = models.ForeignKey(Offering, on_delete=models.CASCADE, related_name="observations")
    state = models.CharField(max_length=10, choices=AvailabilityState.choices)
    free_gpus = models.PositiveIntegerField(null=True, blank=True)
    queued_jobs = models.PositiveIntegerField(null=True, blank=True)
    observed_at = models.DateTimeField(default=timezone.now)
    source = models.CharField(max_length=60)

    class Meta:
        indexes = [models.Index(fields=["offering", "-observed_at"], name="capacity_newest")]


class WaitlistEntry(models.Model):
    """Somebody wants to hear when so many GPUs of a plan are free. The rules: portal.catalog.waitlist."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    offering = models.ForeignKey(Offering, on_delete=models.CASCADE, related_name="waitlist")
    gpus = models.PositiveIntegerField()
    created_at = models.DateTimeField(default=timezone.now)
    told_at = models.DateTimeField(null=True, blank=True)
    seen = models.ForeignKey(CapacityObservation, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "organization", "offering"], condition=Q(told_at=None), name="waits_once"
            )
        ]
        indexes = [models.Index(fields=["offering", "id"], condition=Q(told_at=None), name="waitlist_in_line")]

    def __str__(self) -> str:
        return f"{self.user_id} waits for {self.gpus} of {self.offering_id}"
