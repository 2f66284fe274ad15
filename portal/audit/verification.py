"""Is the chain whole?"""

from portal.audit.models import AuditEvent
from portal.audit.recording import digest_of


def broken_links(chain: str) -> list[int]:
    """Sequence numbers whose digest, predecessor or place is wrong; [] when the chain is whole."""
    broken, previous, expected = [], "", 1
    for event in AuditEvent.objects.filter(chain=chain).order_by("sequence").iterator():
        if event.sequence != expected or event.previous != previous or event.digest != digest_of(event):
            broken.append(event.sequence)
        previous, expected = event.digest, event.sequence + 1
    return broken
