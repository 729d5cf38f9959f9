"""Operations on many jobs, and event streams, between customers."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.live import sending
from support.tenants import JOBS, KeyHolder, SharedService


def test_bulk_reaches_only_own_jobs(tenants: SharedService) -> None:
    own, foreign = tenants.a.create()["id"], tenants.b.create()["id"]
    answer = tenants.a.ask("POST", f"{JOBS}/cancel", {"ids": [foreign, own]})
    body = answer.get_json()
    assert [job["outcome"] for job in body["data"]] == ["not_found", "cancelled"]
    assert tenants.b.data("GET", f"{JOBS}/{foreign}")["status"] == "pending"
    request = {"filter": {"customer_config_id": str(tenants.b_id)}}
    assert tenants.a.ask("POST", f"{JOBS}/cancel", request).get_json()["data"] == []
    request = {"filter": {"created_after": "2020-01-01T00:00:00Z"}}
    tenants.a.ask("POST", f"{JOBS}/cancel", request)
    assert tenants.b.data("GET", f"{JOBS}/{foreign}")["status"] == "pending"


class OpenStream:
    """A stream of the application in this process."""

    def __init__(self, holder: KeyHolder, path: str) -> None:
        client = holder.app.test_client()
        headers = {"Authorization": f"Bearer {holder.key}"}
        self.answer = client.get(path, headers=headers)
        assert self.answer.status_code == 200
        self._chunks: Iterator[Any] = iter(self.answer.response)

    def read_until(self, text: str) -> str:
        """Return what comes up to `text`, or up to the end."""
        found = ""
        for chunk in self._chunks:
            found += chunk if isinstance(chunk, str) else chunk.decode()
            if text in found:
                break
        return found


@pytest.fixture
def open_streams() -> Iterator[list[Any]]:
    streams: list[Any] = []
    yield streams
    for stream in streams:
        stream.answer.close()


def test_stream_shows_no_job_of_others(tenants: SharedService, open_streams: list[Any]) -> None:
    stream = OpenStream(tenants.a, f"{JOBS}/events")
    everything = OpenStream(tenants.admin, f"{JOBS}/events")
    open_streams += [stream, everything]
    foreign = tenants.b.create()["id"]
    tenants.b.data("PUT", f"{JOBS}/{foreign}", {"status": "running"})
    unowned = tenants.admin.create()["id"]
    own = tenants.a.create()["id"]
    shown = stream.read_until(own)
    assert own in shown
    assert foreign not in shown
    assert unowned not in shown
    seen = everything.read_until(own)
    assert foreign in seen
    position = shown.partition("id: ")[2].partition("\n")[0]
    resumed = OpenStream(tenants.a, f"{JOBS}/events?last_event_id={position}")
    open_streams.append(resumed)
    missed = resumed.read_until(own)
    assert own in missed
    assert foreign not in missed
    answer = tenants.a.ask("GET", f"{JOBS}/{foreign}/events")
    assert answer.status_code == 404


def test_revoked_key_ends_its_stream(
    tenants: SharedService, open_streams: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "HEARTBEAT_SECONDS", 0.2)
    stream = OpenStream(tenants.a, f"{JOBS}/events")
    open_streams.append(stream)
    assert ": heartbeat" in stream.read_until(": heartbeat")
    tenants.sql(
        "UPDATE api_keys SET revoked_at = now() WHERE id = %s",
        tenants.a.key.split("_")[1],
    )
    assert "no such text" not in stream.read_until("no such text")  # it ends


def test_stream_ends_after_its_time(
    tenants: SharedService, open_streams: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "MAX_SECONDS", 1.0)
    stream = OpenStream(tenants.a, f"{JOBS}/events")
    open_streams.append(stream)
    assert "event: ready" in stream.read_until("no such text")
