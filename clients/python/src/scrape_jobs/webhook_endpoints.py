"""The operations on webhook endpoints and their deliveries."""

from collections.abc import Iterator, Mapping
from typing import Any

from scrape_jobs.caller import Caller, path_part
from scrape_jobs.errors import NotFound
from scrape_jobs.paging import items

PATH = "/api/webhooks"


class WebhookEndpoints:
    """The webhook endpoints of the service. Endpoints and deliveries are JSON documents."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def create(self, url: str, **fields: Any) -> dict[str, Any]:
        """Create an endpoint and return it with its `secret`, which is shown only now.

        Args:
            url: The URL that receives the events.
            fields: statuses, job_types, domains, active, description, headers.
        """
        return self._data("POST", PATH, {"url": url, **fields})

    def list(self) -> Iterator[Mapping[str, Any]]:
        """Return an iterator over all endpoints."""
        return items(self._caller, PATH)

    def get(self, webhook_id: str) -> dict[str, Any]:
        """Return an endpoint. Raises NotFound."""
        return self._data("GET", _path(webhook_id))

    def update(self, webhook_id: str, **fields: Any) -> dict[str, Any]:
        """Change the given fields of an endpoint and return it. Raises NotFound."""
        return self._data("PUT", _path(webhook_id), fields)

    def delete(self, webhook_id: str) -> None:
        """Remove an endpoint with its deliveries. Raises NotFound."""
        try:
            self._caller.call("DELETE", _path(webhook_id))
        except NotFound as missing:
            if missing.attempts == 1:  # otherwise an earlier attempt has removed it
                raise

    def rotate_secret(self, webhook_id: str) -> dict[str, Any]:
        """Replace the signing secret and return the endpoint with the new one. Raises NotFound."""
        return self._data("POST", f"{_path(webhook_id)}/rotate-secret")

    def test(self, webhook_id: str) -> dict[str, Any]:
        """Send a test event to the endpoint and return the delivery. Raises NotFound."""
        return self._data("POST", f"{_path(webhook_id)}/test")

    def deliveries(self, webhook_id: str) -> Iterator[Mapping[str, Any]]:
        """Return an iterator over the deliveries of an endpoint, newest first."""
        return items(self._caller, f"{_path(webhook_id)}/deliveries")

    def redeliver(self, webhook_id: str, delivery_id: str) -> dict[str, Any]:
        """Send one delivery again and return it. Raises NotFound."""
        path = f"{_path(webhook_id)}/deliveries/{path_part(delivery_id)}/redeliver"
        return self._data("POST", path)

    def _data(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        data: dict[str, Any] = self._caller.call(method, path, body=body).document["data"]
        return data


def _path(webhook_id: str) -> str:
    return f"{PATH}/{path_part(webhook_id)}"
