"""Provenance of a change: the actor, the request and its network address."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """The actor of a change.

    Attributes:
        type: ``key`` (an API key), ``system`` (the service itself) or ``anonymous`` (a request
            without a key).
        id: The id of the API key.
        name: The name of the API key.
    """

    type: str
    id: str | None = None
    name: str | None = None


ANONYMOUS = Actor("anonymous")
SYSTEM = Actor("system")


@dataclass(frozen=True, slots=True)
class Provenance:
    """The provenance of a change: the actor, the request's id and its network address."""

    actor: Actor
    request_id: str | None
    address: str | None = None
