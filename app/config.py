"""The settings: one declared object, the sole reader of the environment."""

import dataclasses
import ipaddress
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from marshmallow import EXCLUDE, Schema, ValidationError, fields
from marshmallow.validate import Length, OneOf, Range

from app.database import database_url
from app.vault import is_key
from app.webhooks.signing import is_secret
from app.webhooks.targets import fault_of_exception, fault_of_url

PREFIX = "SCRAPE_JOBS_"


class SettingsError(Exception):
    """Settings that the service cannot start with, one line each in `lines`."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def _setting(name: str, field: fields.Field[Any], default: Any, purpose: str) -> Any:
    return dataclasses.field(
        default=default,
        metadata={"name": name, "field": field, "default": default, "purpose": purpose},
    )


def _switch() -> fields.Boolean:
    return fields.Boolean(
        truthy={"on", "true", "1", "yes"},
        falsy={"off", "false", "0", "no"},
        error_messages={"invalid": "must be on or off"},
    )


def _number(low: int, high: int) -> fields.Integer:
    complaint = f"must be a whole number from {low} to {high}"
    return fields.Integer(
        validate=Range(low, high, error=complaint), error_messages={"invalid": complaint}
    )


def _one_of(*choices: str) -> fields.String:
    return fields.String(validate=OneOf(choices, error=f"must be one of {', '.join(choices)}"))


class _List(fields.Field[tuple[str, ...]]):
    """Several values with commas between them, each of which `check` takes or complains of."""

    def __init__(self, check: Callable[[str], str | None]) -> None:
        super().__init__()
        self._check = check

    def _deserialize(
        self,
        value: Any,
        attr: str | None,
        data: Any,
        **kwargs: Any,
    ) -> tuple[str, ...]:
        values = tuple(part.strip() for part in value.split(",") if part.strip())
        faults = [fault for fault in map(self._check, values) if fault]
        if faults:
            raise ValidationError(faults[0])
        return values


def _secret_fault(text: str) -> None:
    if not is_secret(text):
        raise ValidationError("must be whsec_ and 24 to 64 bytes in base64")


def _check_database_url(text: str) -> None:
    if fault := database_url.fault_of(text):
        raise ValidationError(fault)


def _check_redis_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        (parts.hostname or "").encode("idna")
        fits = parts.scheme in ("redis", "rediss", "redis+unix") and (parts.port or 1) > 0
    except ValueError:  # of the host, its name, or the port
        fits = False
    if not fits:
        raise ValidationError("must be a URL such as redis://host:6379/0")


def _check_ca_file(path: str) -> None:
    """Check that `path` names a file of certificates. Raises ValidationError."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:  # an unreadable file, or one without certificates
        reason = error.strerror if not isinstance(error, ssl.SSLError) else "it holds none"
        raise ValidationError(f"must be a PEM file of certificates ({reason})") from None


def _key_fault(text: str) -> str | None:
    return None if is_key(text) else "must be keys as flask webhooks new-key prints them"


def _origin_fault(text: str) -> str | None:
    fits = re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?", text)
    return None if fits else "must be origins such as https://app.example.com"


def _header_fault(text: str) -> str | None:
    """Return the fault of a header's name (RFC 9110, section 5.1), or None."""
    fits = re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", text)
    return (
        None if fits else "must be names of headers such as traceparent, with commas between them"
    )


def is_loopback(host: str) -> bool:
    """Tell whether `host`, a name or an address, is reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator may choose; `Settings.described()` prints it with its defaults."""

    database_url: str | None = _setting(
        "DATABASE_URL",
        fields.String(validate=_check_database_url),
        None,
        "The PostgreSQL to use; unset, an embedded one is started in the data folder",
    )
    host: str = _setting(
        "HOST",
        fields.String(),
        "127.0.0.1",
        "Address to listen on",
    )
    port: int = _setting("PORT", _number(1, 65535), 3000, "TCP port to listen on")
    workers: int = _setting(
        "WEB_CONCURRENCY", _number(1, 256), 2, "Worker processes; about one a core"
    )
    threads: int = _setting(
        "THREADS",
        _number(1, 256),
        4,
        "Threads of each worker; it has two database connections more",
    )
    drain_seconds: int = _setting(
        "SCRAPE_JOBS_DRAIN_SECONDS",
        _number(0, 300),
        1,
        "How long a server that was told to stop accepts connections, until load balancers know of it",
    )
    log_level: str = _setting(
        "LOG_LEVEL",
        _one_of("DEBUG", "INFO", "WARNING", "ERROR"),
        "INFO",
        "Least severity that is logged",
    )
    auth: str = _setting(
        "SCRAPE_JOBS_AUTH",
        _one_of("keys", "off"),
        "keys",
        "keys: every call needs a key (flask keys create); off: none does, allowed on loopback addresses alone",
    )
    data_dir: str = _setting(
        "SCRAPE_JOBS_DATA_DIR",
        fields.String(validate=Length(min=1, error="must be the path of a folder")),
        "var",
        "Folder of the embedded PostgreSQL's data",
    )
    migrate: bool = _setting(
        "SCRAPE_JOBS_MIGRATE",
        _switch(),
        False,
        "Bring the schema up to date before serving (embedded: always)",
    )

    webhook_urls: tuple[str, ...] = _setting(
        "SCRAPE_JOBS_WEBHOOK_URLS",
        _List(fault_of_url),
        (),
        "Webhook endpoints that need no call, with commas between",
    )
    webhook_secret: str | None = _setting(
        "SCRAPE_JOBS_WEBHOOK_SECRET",
        fields.String(validate=_secret_fault),
        None,
        "Their secret: whsec_ and 24 to 64 bytes in base64 (flask webhooks new-secret prints one)",
    )
    webhook_allow: tuple[str, ...] = _setting(
        "SCRAPE_JOBS_WEBHOOK_ALLOW",
        _List(fault_of_exception),
        (),
        "Targets allowed beside public ones: CIDRs, hosts",
    )
    webhook_limit: int = _setting(
        "SCRAPE_JOBS_WEBHOOK_LIMIT",
        _number(1, 1_000_000),
        100,
        "Webhook endpoints that one customer may have",
    )
    webhook_dispatch: bool = _setting(
        "SCRAPE_JOBS_WEBHOOK_DISPATCH",
        _switch(),
        True,
        "Deliver webhooks in the workers; off: by flask webhooks dispatch",
    )
    webhook_ca: str | None = _setting(
        "SCRAPE_JOBS_WEBHOOK_CA",
        fields.String(validate=_check_ca_file),
        None,
        "PEM file of certificate authorities that webhooks trust beside the public ones",
    )
    redis_url: str | None = _setting(
        "REDIS_URL",
        fields.String(validate=_check_redis_url),
        None,
        "The Redis through which all processes share the rate limits; unset, each keeps its own",
    )
    rate_limit: bool = _setting(
        "SCRAPE_JOBS_RATE_LIMIT", _switch(), True, "Limit how often callers may call"
    )
    rate_limit_reads: int = _setting(
        "SCRAPE_JOBS_RATE_LIMIT_READS",
        _number(1, 10_000_000),
        12_000,
        "Reads a minute of one key, or address",
    )
    rate_limit_updates: int = _setting(
        "SCRAPE_JOBS_RATE_LIMIT_UPDATES",
        _number(1, 10_000_000),
        6_000,
        "Updates a minute of one key, or address",
    )
    rate_limit_creations: int = _setting(
        "SCRAPE_JOBS_RATE_LIMIT_CREATIONS",
        _number(1, 10_000_000),
        600,
        "Creations a minute of one key, or address",
    )
    rate_limit_job: int = _setting(
        "SCRAPE_JOBS_RATE_LIMIT_JOB", _number(1, 10_000_000), 300, "Updates a minute of one job"
    )
    trusted_proxies: int = _setting(
        "SCRAPE_JOBS_TRUSTED_PROXIES",
        _number(0, 10),
        0,
        "Proxies in front whose X-Forwarded-For is believed; with nginx before it, 1",
    )
    cors_origins: tuple[str, ...] = _setting(
        "SCRAPE_JOBS_CORS_ORIGINS",
        _List(_origin_fault),
        (),
        "Origins such as https://app.example.com whose pages may call, with commas between",
    )
    cors_headers: tuple[str, ...] = _setting(
        "SCRAPE_JOBS_CORS_HEADERS",
        _List(_header_fault),
        ("baggage", "sentry-trace", "traceparent", "tracestate"),
        "Request headers that these pages may send beside the API's own, with commas between",
    )
    domain_limit: int | None = _setting(
        "SCRAPE_JOBS_DOMAIN_LIMIT",
        _number(1, 1_000_000),
        None,
        "Jobs of one domain that may run at once, as far as workers take them; unset: any number",
    )
    housekeeping: bool = _setting(
        "SCRAPE_JOBS_HOUSEKEEPING",
        _switch(),
        True,
        "Rescue expired leases and count statistics in the workers; off: by flask housekeeping",
    )
    distributed: bool = _setting(
        "SCRAPE_JOBS_DISTRIBUTED",
        _switch(),
        False,
        "Take jobs one by one, as a table needs that is spread over machines (Citus)",
    )
    secrets_keys: tuple[str, ...] = _setting(
        "SCRAPE_JOBS_SECRETS_KEY",
        _List(_key_fault),
        (),
        "Keys that encrypt stored secrets, the first for new ones; unset: they are kept in the clear",
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings from `environ`, where an empty value counts as none.

        Raises SettingsError, which names every wrong value.
        """
        declared = {f.metadata["name"]: f for f in dataclasses.fields(cls)}
        schema = Schema.from_dict({name: f.metadata["field"] for name, f in declared.items()})(
            unknown=EXCLUDE
        )
        written = {
            name: value for name, value in environ.items() if name in declared and value.strip()
        }
        faults: dict[str, list[str]] = {}
        given: dict[str, Any] = {}
        try:
            given = schema.load(written)
        except ValidationError as error:
            faults.update(error.messages_dict)
        host = written.get("HOST", "127.0.0.1")
        if written.get("SCRAPE_JOBS_AUTH") == "off" and not is_loopback(host):
            complaint = f"{host} is not a loopback address, and with SCRAPE_JOBS_AUTH=off no other is allowed"
            faults.setdefault("HOST", []).append(complaint)
        if given.get("SCRAPE_JOBS_WEBHOOK_URLS") and "SCRAPE_JOBS_WEBHOOK_SECRET" not in given:
            faults["SCRAPE_JOBS_WEBHOOK_SECRET"] = ["must be set where SCRAPE_JOBS_WEBHOOK_URLS is"]
        if faults:
            raise SettingsError(
                [f"{name}: {', '.join(texts)}" for name, texts in sorted(faults.items())]
            )
        return cls(**{declared[name].name: value for name, value in given.items()})

    @classmethod
    def unknown(cls, environ: Mapping[str, str]) -> list[str]:
        """Return the names in `environ` that look like this service's settings but are none of
        them."""
        declared = {f.metadata["name"] for f in dataclasses.fields(cls)}
        return sorted(name for name in environ if name.startswith(PREFIX) and name not in declared)

    def warnings(self, environ: Mapping[str, str]) -> list[str]:
        """Return what the operator should know at start, though the service starts with it."""
        found = [f"{name} is no setting of this service" for name in self.unknown(environ)]
        if not self.secrets_keys:
            found.append(
                "webhook secrets are stored in the clear: set SCRAPE_JOBS_SECRETS_KEY to encrypt them"
            )
        return found

    @classmethod
    def described(cls) -> str:
        """Return every setting with its default and purpose, for people."""
        rows = [
            (f.metadata["name"], _shown(f.metadata["default"])) for f in dataclasses.fields(cls)
        ]
        width = [max(len(row[i]) for row in rows) for i in (0, 1)]
        return "\n".join(
            f"{name:{width[0]}}  {default:{width[1]}}  {f.metadata['purpose']}"
            for (name, default), f in zip(rows, dataclasses.fields(cls), strict=True)
        )


def _shown(value: object) -> str:
    match value:
        case None | ():
            return ""
        case bool():
            return "on" if value else "off"
        case tuple():
            return ", ".join(value)
        case _:
            return str(value)
