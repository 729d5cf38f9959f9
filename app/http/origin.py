"""Who asks, and by which request."""

from app.events.origin import ANONYMOUS, Origin
from app.http.request_id import request_id


def origin() -> Origin:
    """Return where the current request comes from."""
    return Origin(ANONYMOUS, request_id())
