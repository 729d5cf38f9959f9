"""Who did something, and by which request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. `type` is ``key`` (an API key), ``system`` (the service itself) or ``anonymous``
    (nobody asked)."""

    type: str
    id: str | None = None
    name: str | None = None


ANONYMOUS = Actor("anonymous")
SYSTEM = Actor("system")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a modification comes from: the actor, the request's id, and the address that it came
    from."""

    actor: Actor
    request_id: str | None
    address: str | None = None
