"""The settings of the service, read from the environment.

`Settings` declares each setting with its name, check, default and purpose. Nothing else reads the
environment. A package that checks its own settings passes a `Check` to `Settings.from_environ`, so
that this module imports no higher layer.
"""

import dataclasses
import ipaddress
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from marshmallow import EXCLUDE, Schema, ValidationError, fields
from marshmallow.validate import Length, OneOf, Range

from app.database import database_url

PREFIX = "SCRAPE_JOBS_"

NOT_LOOPBACK = "{} is not a loopback address, and with SCRAPE_JOBS_AUTH=off no other is allowed"
"""The fault of HOST, or of another address that is listened on."""


class SettingsError(Exception):
    """Invalid settings, which the service does not start with; `lines` has one line for each."""

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


class _ListOf(fields.Field[tuple[str, ...]]):
    """Comma-separated values; `fault_of` returns the fault of one value, or None."""

    def __init__(self, fault_of: Callable[[str], str | None] | None = None) -> None:
        super().__init__()
        self._fault_of = fault_of

    def _deserialize(
        self,
        value: Any,
        attr: str | None,
        data: Any,
        **kwargs: Any,
    ) -> tuple[str, ...]:
        values = tuple(part.strip() for part in value.split(",") if part.strip())
        faults = [fault for fault in map(self._fault_of, values) if fault] if self._fault_of else []
        if faults:
            raise ValidationError(faults[0])
        return values


def _check_database_url(text: str) -> None:
    if fault := database_url.fault_of(text):
        raise ValidationError(fault)


def _check_redis_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        (parts.hostname or "").encode("idna")
        fits = parts.scheme in ("redis", "rediss", "redis+unix") and (parts.port or 1) > 0
    except ValueError:  # invalid host, host name or port
        fits = False
    if not fits:
        raise ValidationError("must be a URL such as redis://host:6379/0")


def _fault_of_origin(text: str) -> str | None:
    fits = re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?", text)
    return None if fits else "must be origins such as https://app.example.com"


def _fault_of_header(text: str) -> str | None:
    """Return the fault of a header name (RFC 9110, section 5.1), or None."""
    fits = re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", text)
    return (
        None if fits else "must be names of headers such as traceparent, with commas between them"
    )


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or an address, is reachable from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


Check = Callable[["Settings"], Sequence[tuple[str, str]]]
"""Returns the faults of some settings, each as the name of a field of `Settings` and its fault."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings; `Settings.as_text()` lists them with their defaults and purposes."""

    database_url: str | None = _setting(
        "DATABASE_URL",
        fields.String(validate=_check_database_url),
        None,
        "PostgreSQL database; unset: an embedded PostgreSQL is started in the data folder",
    )
    host: str = _setting(
        "HOST",
        fields.String(),
        "127.0.0.1",
        "Address to listen on",
    )
    port: int = _setting("PORT", _number(1, 65535), 3000, "TCP port to listen on")
    server: str = _setting(
        "SERVER",
        _one_of("gunicorn", "granian"),
        "gunicorn",
        "HTTP server of the workers; granian needs the package granian (docs/operations.md)",
    )
    workers: int = _setting(
        "WEB_CONCURRENCY", _number(1, 256), 2, "Number of worker processes; about one per CPU core"
    )
    threads: int = _setting(
        "THREADS",
        _number(1, 256),
        4,
        "Requests that a worker serves at a time; it uses three more database connections",
    )
    streams: int = _setting(
        "SCRAPE_JOBS_STREAMS",
        _number(0, 500),
        32,
        "Event streams that a worker serves at a time, in threads of their own",
    )
    drain_seconds: int = _setting(
        "SCRAPE_JOBS_DRAIN_SECONDS",
        _number(0, 300),
        1,
        "Seconds for which a stopping server accepts connections, so that load balancers notice",
    )
    log_level: str = _setting(
        "LOG_LEVEL",
        _one_of("DEBUG", "INFO", "WARNING", "ERROR"),
        "INFO",
        "Minimum log level",
    )
    auth: str = _setting(
        "SCRAPE_JOBS_AUTH",
        _one_of("keys", "off"),
        "keys",
        "keys: requests need an API key (flask keys create); off: no keys, only loopback addresses",
    )
    data_dir: str = _setting(
        "SCRAPE_JOBS_DATA_DIR",
        fields.String(validate=Length(min=1, error="must be the path of a folder")),
        "var",
        "Data folder of the embedded PostgreSQL",
    )
    migrate: bool = _setting(
        "SCRAPE_JOBS_MIGRATE",
        _switch(),
        False,
        "Run the migrations before serving (always on with the embedded PostgreSQL)",
    )

    webhook_urls: tuple[str, ...] = _setting(
        "SCRAPE_JOBS_WEBHOOK_URLS",
        _ListOf(),
        (),
        "Webhook endpoints that exist without an API call, comma-separated URLs",
    )
    webhook_secret: str | None = _setting(
        "SCRAPE_JOBS_WEBHOOK_SECRET",
        fields.String(),
        None,
        "Secret of these endpoints: whsec_ and 24 to 64 bytes in base64; flask webhooks new-secret",
    )
    webhook_allow: tuple[str, ...] = _setting(
        "SCRAPE_JOBS_WEBHOOK_ALLOW",
        _ListOf(),
        (),
        "Webhook targets allowed in addition to public addresses: CIDRs and hosts, comma-separated",
    )
    webhook_limit: int = _setting(
        "SCRAPE_JOBS_WEBHOOK_LIMIT",
        _number(1, 1_000_000),
        100,
        "Maximum number of webhook endpoints per customer",
    )
    webhook_dispatch: bool = _setting(
        "SCRAPE_JOBS_WEBHOOK_DISPATCH",
        _switch(),
        True,
        "Deliver webhooks in the workers; off: run flask webhooks dispatch",
    )
    webhook_ca: str | None = _setting(
        "SCRAPE_JOBS_WEBHOOK_CA",
        fields.String(),
        None,
        "PEM file of certificate authorities that webhooks trust in addition to the public ones",
    )
    redis_url: str | None = _setting(
        "REDIS_URL",
        fields.String(validate=_check_redis_url),
        None,
        "Redis that shares the rate limits between processes; unset: each process counts alone",
    )
    rate_limit: bool = _setting(
        "SCRAPE_JOBS_RATE_LIMIT", _switch(), True, "Enforce the rate limits"
    )
    rate_limit_reads: int = _setting(
        "SCRAPE_JOBS_RATE_LIMIT_READS",
        _number(1, 10_000_000),
        12_000,
        "Reads per minute per key, or per address without keys",
    )
    rate_limit_updates: int = _setting(
        "SCRAPE_JOBS_RATE_LIMIT_UPDATES",
        _number(1, 10_000_000),
        6_000,
        "Updates per minute per key, or per address without keys",
    )
    rate_limit_creations: int = _setting(
        "SCRAPE_JOBS_RATE_LIMIT_CREATIONS",
        _number(1, 10_000_000),
        600,
        "Creations per minute per key, or per address without keys",
    )
    rate_limit_job: int = _setting(
        "SCRAPE_JOBS_RATE_LIMIT_JOB", _number(1, 10_000_000), 300, "Updates per minute per job"
    )
    trusted_proxies: int = _setting(
        "SCRAPE_JOBS_TRUSTED_PROXIES",
        _number(0, 10),
        0,
        "Number of proxies in front whose X-Forwarded-For is trusted; 1 behind nginx",
    )
    cors_origins: tuple[str, ...] = _setting(
        "SCRAPE_JOBS_CORS_ORIGINS",
        _ListOf(_fault_of_origin),
        (),
        "Origins whose pages may call the API, such as https://app.example.com, comma-separated",
    )
    cors_headers: tuple[str, ...] = _setting(
        "SCRAPE_JOBS_CORS_HEADERS",
        _ListOf(_fault_of_header),
        ("baggage", "sentry-trace", "traceparent", "tracestate"),
        "Request headers that these pages may send in addition to the API's own, comma-separated",
    )
    domain_limit: int | None = _setting(
        "SCRAPE_JOBS_DOMAIN_LIMIT",
        _number(1, 1_000_000),
        None,
        "Maximum number of running jobs per domain, checked when jobs are claimed; unset: no limit",
    )
    housekeeping: bool = _setting(
        "SCRAPE_JOBS_HOUSEKEEPING",
        _switch(),
        True,
        "Rescue expired leases and count statistics in the workers; off: run flask housekeeping",
    )
    distributed: bool = _setting(
        "SCRAPE_JOBS_DISTRIBUTED",
        _switch(),
        False,
        "Claim jobs one at a time, as a distributed table needs (Citus)",
    )
    secrets_keys: tuple[str, ...] = _setting(
        "SCRAPE_JOBS_SECRETS_KEY",
        _ListOf(),
        (),
        "Keys that encrypt stored secrets and sign sessions, comma-separated, newest first",
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *checks: Check) -> Self:
        """Return the settings in `environ`; an empty value counts as unset.

        Args:
            environ: The environment, such as `os.environ`.
            checks: Further checks, which run on the settings whose values are valid so far.

        Raises:
            SettingsError: Some values are invalid; it names all of them.
        """
        values, faults = _load(environ)
        settings = cls(**values)
        if settings.auth == "off" and not is_loopback(settings.host):
            faults["HOST"].append(NOT_LOOPBACK.format(settings.host))
        names = {f.name: f.metadata["name"] for f in dataclasses.fields(cls)}
        for check in checks:
            for field, fault in check(settings):
                faults[names[field]].append(fault)
        if faults:
            raise SettingsError(
                [f"{name}: {', '.join(texts)}" for name, texts in sorted(faults.items())]
            )
        return settings

    @property
    def server_threads(self) -> int:
        """The number of threads that the server needs in each worker: for requests and streams."""
        return self.threads + self.streams

    @classmethod
    def unknown_names(cls, environ: Mapping[str, str]) -> list[str]:
        """Return the names in `environ` that have the prefix of settings but are none."""
        declared = {f.metadata["name"] for f in dataclasses.fields(cls)}
        return sorted(name for name in environ if name.startswith(PREFIX) and name not in declared)

    def warnings(self, environ: Mapping[str, str]) -> list[str]:
        """Return warnings about valid settings, to log at start."""
        found = [f"{name} is not a setting of this service" for name in self.unknown_names(environ)]
        if not self.secrets_keys:
            found.append(
                "webhook secrets are stored in the clear: "
                "set SCRAPE_JOBS_SECRETS_KEY to encrypt them"
            )
        return found

    @classmethod
    def as_text(cls) -> str:
        """Return a table of all settings with defaults and purposes, for a terminal."""
        rows = cls._rows()
        widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
        return "\n".join(
            f"{name:{widths[0]}}  {default:{widths[1]}}  {purpose}"
            for name, default, purpose in rows
        )

    @classmethod
    def as_markdown(cls) -> str:
        """Return the same table in Markdown, as the documentation has it."""
        rows = "\n".join(
            f"| `{name}` | {default} | {purpose} |".replace("|  |", "| |")
            for name, default, purpose in cls._rows()
        )
        return f"| setting | default | purpose |\n|---|---|---|\n{rows}"

    @classmethod
    def _rows(cls) -> list[tuple[str, str, str]]:
        declared = [f.metadata for f in dataclasses.fields(cls)]
        return [(d["name"], _text(d["default"]), d["purpose"]) for d in declared]


def _load(environ: Mapping[str, str]) -> tuple[dict[str, Any], defaultdict[str, list[str]]]:
    """Return the valid values in `environ` by field of `Settings`, and the faults by setting."""
    declared = {f.metadata["name"]: f for f in dataclasses.fields(Settings)}
    schema = Schema.from_dict({name: f.metadata["field"] for name, f in declared.items()})(
        unknown=EXCLUDE
    )
    present = {name: value for name, value in environ.items() if name in declared and value.strip()}
    faults: defaultdict[str, list[str]] = defaultdict(list)
    try:
        valid = schema.load(present)
    except ValidationError as error:
        valid = error.valid_data or {}
        faults.update(error.messages_dict)
    return {declared[name].name: value for name, value in valid.items()}, faults


def _text(value: object) -> str:
    match value:
        case None | ():
            return ""
        case bool():
            return "on" if value else "off"
        case tuple():
            return ", ".join(value)
        case _:
            return str(value)
