"""Signatures of the Standard Webhooks specification, verified by its package and by hand."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.webhooks import signing

ID = "7b1c2a52-0f0e-4a53-8d4c-0c2a4a0f8d11"
BODIES = {
    "empty": "",
    "object": '{"event":"job_status_changed","stats":{}}',
    "spaces and newlines": '{ "a" :\n\t1 }\r\n',
    "Unicode": json.dumps(
        {"domain": "bücher.example", "text": "日本語 \U0001f600 \u202e é e\u0301"},
        ensure_ascii=False,
    ),
    "dots": "...",
    "256 KiB": json.dumps({"stats": {"k": "ü" * (128 * 1024)}}, ensure_ascii=False),
}


def secret_of(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(range(size))).decode()


def by_hand(secret: str, message_id: str, timestamp: str, body: str) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(
        key, b".".join((message_id.encode(), timestamp.encode(), body.encode())), hashlib.sha256
    ).digest()
    return "v1," + base64.b64encode(digest).decode()


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_signature_is_the_hmac_of_the_message(body: str, size: int) -> None:
    secret, moment = secret_of(size), datetime(2024, 1, 1, 10, 0, 0, 999_999, tzinfo=UTC)
    assert signing.signature_headers(ID, moment, body, [secret]) == {
        "webhook-id": ID,
        "webhook-timestamp": "1704103200",
        "webhook-signature": by_hand(secret, ID, "1704103200", body),
    }


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_official_package_verifies_signatures(body: str) -> None:
    secret = signing.new_secret()
    headers = dict(signing.signature_headers(ID, datetime.now(UTC), body, [secret]))
    Webhook(secret).verify(body.encode(), headers, json_parse=False)


def test_the_example_of_the_specification() -> None:
    moment = datetime.fromtimestamp(1614265330, UTC)
    headers = signing.signature_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        moment,
        '{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=9, minutes=30))]
)
def test_the_time_zone_does_not_matter(zone: timezone) -> None:
    moment, secret = datetime(2024, 1, 1, 10, 0, tzinfo=UTC), secret_of(24)
    assert signing.signature_headers(
        ID, moment.astimezone(zone), "x", [secret]
    ) == signing.signature_headers(ID, moment, "x", [secret])


def test_two_secrets_give_two_valid_signatures() -> None:
    new, old, other = (signing.new_secret() for _ in range(3))
    headers = dict(signing.signature_headers(ID, datetime.now(UTC), "{}", [new, old]))
    first, second = headers["webhook-signature"].split(" ")
    assert first == by_hand(new, ID, headers["webhook-timestamp"], "{}")
    assert second == by_hand(old, ID, headers["webhook-timestamp"], "{}")
    for secret in (new, old):
        Webhook(secret).verify("{}", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify("{}", headers)


@pytest.mark.parametrize(
    ("changed", "body"),
    [
        ({"webhook-id": "other"}, "{}"),
        ({"webhook-timestamp": str(int(datetime.now(UTC).timestamp()) - 60)}, "{}"),
        ({}, "{ }"),
    ],
    ids=["id", "time", "body"],
)
def test_a_changed_message_does_not_verify(changed: dict[str, str], body: str) -> None:
    secret = signing.new_secret()
    headers = {**signing.signature_headers(ID, datetime.now(UTC), "{}", [secret]), **changed}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_new_secrets_are_valid_and_unique() -> None:
    made = {signing.new_secret() for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        assert signing.is_secret(secret)
        assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


@pytest.mark.parametrize("size", [24, 25, 26, 32, 63, 64])
def test_a_secret_has_24_to_64_bytes(size: int) -> None:
    assert signing.is_secret(secret_of(size))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec",
        secret_of(0),
        secret_of(1),
        secret_of(23),
        secret_of(65),
        secret_of(128),
        secret_of(32).removeprefix("whsec_"),
        secret_of(32).replace("whsec_", "WHSEC_"),
        secret_of(32).replace("whsec_", "whsk_"),
        " " + secret_of(32),
        secret_of(32) + "\n",
        secret_of(32) + " ",
        secret_of(32).rstrip("="),
        secret_of(32)[:20] + "\n" + secret_of(32)[20:],
        "whsec_" + "ü" * 40,
        "whsec_" + "\u0663" * 40,
        "whsec_" + "-_" * 20,
        "whsec_" + "x" * 33,
        "whsec_whsec_" + "A" * 32,
        "whsec_" + "A" * 100_000,
    ],
)
def test_other_texts_are_no_secrets(text: str) -> None:
    assert not signing.is_secret(text)
