"""The settings: defaults, faults of values, and documentation."""

import dataclasses

import pytest

from app.config import Settings, SettingsError
from app.factory import create_app
from app.server.settings import read_settings
from support.service import ROOT

NAMES = [field.metadata["name"] for field in dataclasses.fields(Settings)]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = "YSB0ZXN0J3Mga2V5OiBubyBzZWNyZXQgb2Ygb3VycyE="
OTHER_KEY = "YW5vdGhlciB0ZXN0J3Mga2V5OiBubyBzZWNyZXQgMiE="
URL_NEEDED = "DATABASE_URL: must be a URL such as postgresql://user@host/name"


def read(**environ: str) -> Settings:
    return read_settings(environ)


def faults_of(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(**environ)
    assert str(caught.value) == "\n".join(caught.value.lines)
    return caught.value.lines


def test_no_setting_is_required() -> None:
    settings = read()
    assert settings == Settings()
    assert (settings.database_url, settings.host, settings.port) == (None, "127.0.0.1", 3000)
    assert (settings.log_level, settings.migrate) == ("INFO", False)
    assert settings.workers >= 1
    assert settings.threads >= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_empty_value_means_unset(name: str, value: str) -> None:
    assert read(**{name: value}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("DATABASE_URL", "postgresql://a@b/c", "database_url", "postgresql://a@b/c"),
        ("HOST", "localhost", "host", "localhost"),
        ("HOST", "LOCALHOST", "host", "LOCALHOST"),
        ("HOST", "127.255.255.254", "host", "127.255.255.254"),
        ("HOST", "::1", "host", "::1"),
        ("HOST", "[::1]", "host", "[::1]"),
        ("PORT", "1", "port", 1),
        ("PORT", "65535", "port", 65535),
        ("WEB_CONCURRENCY", "1", "workers", 1),
        ("WEB_CONCURRENCY", "256", "workers", 256),
        ("THREADS", "1", "threads", 1),
        ("THREADS", "256", "threads", 256),
        ("SERVER", "granian", "server", "granian"),
        ("LOG_LEVEL", "DEBUG", "log_level", "DEBUG"),
        ("LOG_LEVEL", "ERROR", "log_level", "ERROR"),
        ("SCRAPE_JOBS_AUTH", "off", "auth", "off"),
        ("SCRAPE_JOBS_DATA_DIR", "/var/lib/jobs", "data_dir", "/var/lib/jobs"),
        ("SCRAPE_JOBS_MIGRATE", "on", "migrate", True),
        ("SCRAPE_JOBS_MIGRATE", "yes", "migrate", True),
        ("SCRAPE_JOBS_MIGRATE", "1", "migrate", True),
        ("SCRAPE_JOBS_MIGRATE", "off", "migrate", False),
        ("SCRAPE_JOBS_MIGRATE", "false", "migrate", False),
        ("SCRAPE_JOBS_WEBHOOK_SECRET", SECRET, "webhook_secret", SECRET),
        ("SCRAPE_JOBS_WEBHOOK_ALLOW", "10.0.0.0/8", "webhook_allow", ("10.0.0.0/8",)),
        (
            "SCRAPE_JOBS_WEBHOOK_ALLOW",
            " ::1 ,,hooks.internal, ",
            "webhook_allow",
            ("::1", "hooks.internal"),
        ),
        ("SCRAPE_JOBS_WEBHOOK_DISPATCH", "off", "webhook_dispatch", False),
        ("SCRAPE_JOBS_WEBHOOK_DISPATCH", "on", "webhook_dispatch", True),
        ("SCRAPE_JOBS_SECRETS_KEY", KEY, "secrets_keys", (KEY,)),
        ("SCRAPE_JOBS_SECRETS_KEY", f"{OTHER_KEY}, {KEY}", "secrets_keys", (OTHER_KEY, KEY)),
    ],
)
def test_valid_value_is_read(name: str, value: str, field: str, expected: object) -> None:
    settings = read(**{name: value})
    assert getattr(settings, field) == expected
    assert settings == dataclasses.replace(Settings(), **{field: expected})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        *(
            ("PORT", value, "must be a whole number from 1 to 65535")
            for value in ("0", "65536", "-1", "x", "3000.5", "1e3")
        ),
        *(
            ("WEB_CONCURRENCY", value, "must be a whole number from 1 to 256")
            for value in ("0", "257", "two", "-2")
        ),
        *(
            ("THREADS", value, "must be a whole number from 1 to 256")
            for value in ("0", "257", "4;", "0x4")
        ),
        *(("SERVER", value, "must be one of gunicorn, granian") for value in ("apache", "Granian")),
        *(
            ("LOG_LEVEL", value, "must be one of DEBUG, INFO, WARNING, ERROR")
            for value in ("TRACE", "LOUD", "20")
        ),
        *(("SCRAPE_JOBS_MIGRATE", value, "must be on or off") for value in ("maybe", "2", "onn")),
        *(
            ("SCRAPE_JOBS_WEBHOOK_DISPATCH", value, "must be on or off")
            for value in ("maybe", "2", "of")
        ),
        *(
            ("SCRAPE_JOBS_WEBHOOK_SECRET", value, "must be whsec_ and 24 to 64 bytes in base64")
            for value in (
                "hunter2",
                "whsec_",
                "whsec_hunter2",
                SECRET.removeprefix("whsec_"),
                f"{SECRET},{SECRET}",
            )
        ),
        *(
            (
                "SCRAPE_JOBS_WEBHOOK_ALLOW",
                value,
                "must be CIDRs, addresses or host names, with commas between them",
            )
            for value in (
                "10.0.0.0/33",
                "localhost:80",
                "http://localhost",
                "127.0.0.1,10.0.0.0/8/8",
                "bücher.example",
            )
        ),
        *(
            ("SCRAPE_JOBS_SECRETS_KEY", value, "must be keys as flask webhooks new-key prints them")
            for value in (
                "hunter2",
                KEY[:-2],
                KEY + KEY,
                f"{KEY};{OTHER_KEY}",
                f"{KEY},hunter2",
                "ü" * 44,
            )
        ),
    ],
)
def test_invalid_value_is_reported_in_one_line(name: str, value: str, fault: str) -> None:
    assert faults_of(**{name: value}) == [f"{name}: {fault}"]


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        ("https://example.com/hook", ("https://example.com/hook",)),
        (
            " http://10.0.0.1:8080/a?b=c , https://[::1]/,",
            ("http://10.0.0.1:8080/a?b=c", "https://[::1]/"),
        ),
    ],
)
def test_webhook_urls_with_secret_are_read(value: str, urls: tuple[str, ...]) -> None:
    settings = read(SCRAPE_JOBS_WEBHOOK_URLS=value, SCRAPE_JOBS_WEBHOOK_SECRET=SECRET)
    assert settings == dataclasses.replace(Settings(), webhook_urls=urls, webhook_secret=SECRET)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("example.com", "must be an http or https URL such as https://example.com/hook"),
        (
            "https://example.com/,ftp://example.com/",
            "must be an http or https URL such as https://example.com/hook",
        ),
        (
            "https://u:p@example.com/",
            "must not hold credentials: receivers verify the signature instead",
        ),
        ("https://example.com/#x", "must not have a fragment"),
        (
            "https://example.com/ https://example.org/",
            "must be a URL of at most 2000 visible ASCII characters",
        ),
        ("https://example.com:x/", "must be a URL such as https://example.com/hook"),
    ],
)
def test_invalid_webhook_url_is_reported(value: str, fault: str) -> None:
    lines = faults_of(SCRAPE_JOBS_WEBHOOK_URLS=value, SCRAPE_JOBS_WEBHOOK_SECRET=SECRET)
    assert lines == [f"SCRAPE_JOBS_WEBHOOK_URLS: {fault}"]


@pytest.mark.parametrize("secret", ["", "  "])
def test_webhook_urls_without_secret_are_rejected(secret: str) -> None:
    lines = faults_of(
        SCRAPE_JOBS_WEBHOOK_URLS="https://example.com/", SCRAPE_JOBS_WEBHOOK_SECRET=secret
    )
    assert lines == ["SCRAPE_JOBS_WEBHOOK_SECRET: must be set where SCRAPE_JOBS_WEBHOOK_URLS is"]


def test_empty_list_of_webhook_urls_needs_no_secret() -> None:
    assert read(SCRAPE_JOBS_WEBHOOK_URLS=" , ") == Settings()


def test_fault_does_not_contain_the_secret() -> None:
    lines = faults_of(
        SCRAPE_JOBS_WEBHOOK_SECRET="whsec_hunter2", SCRAPE_JOBS_SECRETS_KEY=f"{KEY},hunter2"
    )
    assert "hunter2" not in " ".join(lines)
    assert KEY not in " ".join(lines)


def test_all_invalid_values_are_reported() -> None:
    lines = faults_of(PORT="x", THREADS="0", LOG_LEVEL="LOUD", SCRAPE_JOBS_MIGRATE="maybe")
    assert lines == [
        "LOG_LEVEL: must be one of DEBUG, INFO, WARNING, ERROR",
        "PORT: must be a whole number from 1 to 65535",
        "SCRAPE_JOBS_MIGRATE: must be on or off",
        "THREADS: must be a whole number from 1 to 256",
    ]


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "[::]",
        "192.168.0.1",
        "10.0.0.1",
        "8.8.8.8",
        "example.com",
        "localhost.example.com",
        "128.0.0.1",
        "127.0.0.1.example",
        "*",
        "0",
    ],
)
def test_without_keys_host_must_be_loopback(host: str) -> None:
    (line,) = faults_of(HOST=host, SCRAPE_JOBS_AUTH="off")
    fault = "is not a loopback address, and with SCRAPE_JOBS_AUTH=off no other is allowed"
    assert line == f"HOST: {host} {fault}"
    for auth in ("keys", ""):  # which is the default
        assert read(HOST=host, SCRAPE_JOBS_AUTH=auth).auth == "keys"


def test_public_host_is_reported_with_other_faults() -> None:
    lines = faults_of(HOST="0.0.0.0", PORT="x", SCRAPE_JOBS_AUTH="off")
    assert [line.partition(":")[0] for line in lines] == ["HOST", "PORT"]


def test_unknown_authentication_is_rejected() -> None:
    (line,) = faults_of(SCRAPE_JOBS_AUTH="open")
    assert line.startswith("SCRAPE_JOBS_AUTH: must be one of ")


def test_other_variables_are_ignored() -> None:
    assert read(PATH="/bin", PORTS="x", port="x", HOME="") == Settings()


def test_unknown_names_with_prefix_are_found() -> None:
    environ = dict.fromkeys(NAMES, "x") | {
        "SCRAPE_JOBS_MIGRATION": "on",
        "SCRAPE_JOBS_": "",
        "SCRAPE_JOBS_auth": "off",
        "PATH": "/bin",
        "scrape_jobs_x": "1",
    }
    assert Settings.unknown_names(environ) == [
        "SCRAPE_JOBS_",
        "SCRAPE_JOBS_MIGRATION",
        "SCRAPE_JOBS_auth",
    ]


def test_each_setting_has_one_line_of_text() -> None:
    lines = Settings.as_text().splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    for line, field in zip(lines, dataclasses.fields(Settings), strict=True):
        assert line.endswith(field.metadata["purpose"])
        value = field.metadata["default"]
        default = (
            "" if value is None else ", ".join(value) if isinstance(value, tuple) else str(value)
        )
        if isinstance(value, bool):
            default = "on" if value else "off"
        assert line.removeprefix(field.metadata["name"]).lstrip().startswith(default)


def test_documentation_lists_every_setting() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    lines = Settings.as_markdown().splitlines()
    assert len(lines) == 2 + len(NAMES)
    for line, field in zip(lines[2:], dataclasses.fields(Settings), strict=True):
        assert line.startswith(f"| `{field.metadata['name']}` | ")
        assert line.endswith(f" | {field.metadata['purpose']} |")
        assert line in text
    assert Settings.as_markdown() in text


def test_settings_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "url", ["nonsense", "postgresql:/x", "postgresql://u@h:port/d", "://", "postgresql"]
)
def test_invalid_database_url_is_rejected(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        create_app(read(DATABASE_URL=url))
    assert caught.value.lines == [URL_NEEDED]


@pytest.mark.parametrize(
    "url",
    ["redis://h:port", "redis://h:99999", "redis://[::1", "redis://a..b", "http://h", "h:6379"],
)
def test_invalid_redis_url_is_rejected(url: str) -> None:
    assert faults_of(REDIS_URL=url) == ["REDIS_URL: must be a URL such as redis://host:6379/0"]


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://:secret@h:6380/3", "redis+unix:///run/redis.sock"]
)
def test_valid_redis_urls_are_read(url: str) -> None:
    assert read(REDIS_URL=url).redis_url == url
