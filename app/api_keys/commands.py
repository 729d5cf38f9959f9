"""The commands `flask keys`."""

from datetime import UTC, datetime
from uuid import UUID

import click
from flask.cli import AppGroup

from app import cli
from app.api_keys import secrets, service
from app.api_keys.queries import StoredKey
from app.api_keys.scopes import Scope
from app.errors import KeyNotFound

group = AppGroup("keys", help="Create, list, rotate and revoke API keys.")

HEADINGS = ("ID", "NAME", "SCOPES", "CUSTOMER", "CREATED", "EXPIRES", "LAST USED", "STATE")


@group.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="A scope of the key; repeatable.",
)
@click.option(
    "--customer", type=click.UUID, help="Restrict the key to the jobs of this customer_config_id."
)
@click.option("--expires", type=cli.Age(), help="Lifetime, e.g. 90d; default: unlimited.")
def create(
    name: str, scopes: tuple[str, ...], customer: UUID | None, expires: float | None
) -> None:
    """Create a key for NAME and print it on standard output; it is not shown again."""
    with cli.administration():
        key, stored = service.create(name, [Scope(scope) for scope in scopes], customer, expires)
    click.echo(str(key))
    click.echo(
        f"Key {stored.id} for {stored.name}: {', '.join(stored.scopes)}. It is not shown again.",
        err=True,
    )


@group.command("list")
def list_keys() -> None:
    """List all keys, without their secrets."""
    with cli.administration():
        found = service.all_keys()
    rows = [HEADINGS, *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _row(key: StoredKey) -> tuple[str, ...]:
    customer = str(key.customer_config_id or "all")
    times = (_minute(at) for at in (key.created_at, key.expires_at, key.last_used_at))
    return (key.id, key.name, ",".join(key.scopes), customer, *times, _state(key))


def _state(key: StoredKey) -> str:
    if key.is_valid:
        return f"valid until {_minute(key.revoked_at)}" if key.revoked_at else "valid"
    return "revoked" if key.revoked_at else "expired"


def _minute(at: datetime | None) -> str:
    return "never" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


@group.command("revoke")
@click.argument("id")
def revoke(id: str) -> None:
    """Revoke the key ID; every process rejects it within 5 seconds."""
    with cli.administration():
        click.echo(f"Key {service.revoke(_key_id(id)).id} is revoked.")


@group.command("rotate")
@click.argument("id")
@click.option(
    "--grace",
    type=cli.Age(),
    default="24h",
    show_default=True,
    help="Time for which the old key stays valid.",
)
def rotate(id: str, grace: float) -> None:
    """Replace the key ID by a new one with the same scopes, and print the new one."""
    with cli.administration():
        old_id = _key_id(id)
        key, stored = service.rotate(old_id, grace)
    click.echo(str(key))
    click.echo(f"Key {stored.id} for {stored.name} replaces {old_id}.", err=True)


def _key_id(text: str) -> str:
    """Return the id in `text`, which is an id or a whole key. Raises KeyNotFound."""
    key_id = secrets.id_in(text)
    if key_id is None:
        raise KeyNotFound
    return key_id
