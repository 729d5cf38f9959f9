"""Makes one attempt of a claimed delivery: decrypt its secrets, sign, send and evaluate."""

import json
import logging
import random
import threading
from contextlib import suppress
from datetime import UTC, datetime

from app.vault import SecretUnreadableError, Vault
from app.webhooks.attempt import Attempt, ReceiverResponse
from app.webhooks.claims import ClaimedDelivery
from app.webhooks.evaluation import AttemptResult, evaluate
from app.webhooks.sender import Sender
from app.webhooks.signing import signature_headers
from app.webhooks.targets import TargetPolicy

log = logging.getLogger(__name__)


class Deliverer:
    """Makes attempts in any thread; each thread keeps its own connections to receivers.

    Args:
        vault: Decrypts secrets and headers.
        policy: The allowed targets.
        ca_file: A PEM file of certificate authorities to trust in addition to the public ones.
    """

    def __init__(self, vault: Vault, policy: TargetPolicy, ca_file: str | None = None) -> None:
        self._vault = vault
        self._policy = policy
        self._ca_file = ca_file
        self._threads = threading.local()

    def deliver(self, claimed: ClaimedDelivery, attempt: Attempt) -> AttemptResult:
        """Make one attempt and return its consequences. Never raises."""
        began_at = datetime.now(UTC)
        try:
            response = self._send(claimed, attempt, began_at)
        except SecretUnreadableError:
            response = _error("The secret cannot be decrypted with the keys of the settings")
        except Exception:  # without a result the delivery would be held for ever
            log.exception("a webhook could not be sent")
            response = _error("The request could not be made")
        return evaluate(claimed, response, began_at, random.random())  # noqa: S311 - jitter, no secret

    def _send(
        self, claimed: ClaimedDelivery, attempt: Attempt, began_at: datetime
    ) -> ReceiverResponse:
        signature = signature_headers(
            str(claimed.id), began_at, claimed.body, self._secrets(claimed)
        )
        headers = {**self._custom_headers(claimed), **signature}
        return self._sender().send(claimed.url, claimed.body, headers, attempt)

    def _secrets(self, claimed: ClaimedDelivery) -> list[str]:
        """Return the secrets to sign with. A previous secret that is unreadable is left out."""
        secrets = [self._vault.open(claimed.sealed_secret)]
        if claimed.sealed_previous_secret is not None:
            with suppress(SecretUnreadableError):
                secrets.append(self._vault.open(claimed.sealed_previous_secret))
        return secrets

    def _custom_headers(self, claimed: ClaimedDelivery) -> dict[str, str]:
        """Return the endpoint's own headers. Raises SecretUnreadableError."""
        if claimed.sealed_headers is None:
            return {}
        headers: dict[str, str] = json.loads(self._vault.open(claimed.sealed_headers))
        return headers

    def _sender(self) -> Sender:
        if not hasattr(self._threads, "sender"):
            self._threads.sender = Sender(self._policy, self._ca_file)
        sender: Sender = self._threads.sender
        return sender


def _error(text: str) -> ReceiverResponse:
    return ReceiverResponse(None, "", text, None, 0.0)
