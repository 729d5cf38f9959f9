"""Round trips to PostgreSQL of each request, counted by a proxy between the two."""

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.engine import make_url
from werkzeug.test import TestResponse

from app.config import Settings
from app.database import tenant_scope
from app.factory import create_app
from support.factories import make_job, new_domain
from support.round_trips import CountingProxy


class CountedClient:
    """A client of the service that returns the round trips of each request."""

    def __init__(self, client: FlaskClient, proxy: CountingProxy) -> None:
        self.client = client
        self._proxy = proxy

    def round_trips(self, call: Callable[[], TestResponse], status: int) -> list[str]:
        """Return the round trips of `call` after it has run twice before."""
        for _ in range(3):  # the first calls open the connection and prepare the statement
            self._proxy.round_trips.clear()
            answer = call()
            assert answer.status_code == status, answer.text
        return list(self._proxy.round_trips)


@pytest.fixture
def counted(database_url: str) -> Iterator[CountedClient]:
    proxy = CountingProxy(make_url(database_url))
    app = create_app(Settings(auth="off", rate_limit=False, database_url=proxy.url))
    yield CountedClient(app.test_client(), proxy)
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()
    proxy.close()


def assert_one_round_trip(round_trips: list[str]) -> None:
    assert len(round_trips) == 1, round_trips
    scope, _, sql = round_trips[0].partition("; ")
    assert scope == f"SET LOCAL {tenant_scope.SETTING} = 'all'"
    assert sql.split()[0] not in ("BEGIN", "COMMIT", "ROLLBACK", "SET", "PREPARE")
    assert sql != "SELECT 1"


def test_proxy_counts_every_statement(counted: CountedClient) -> None:
    # Checks the counting itself: readyz runs one statement, healthz none.
    assert len(counted.round_trips(lambda: counted.client.get("/readyz"), 200)) == 1
    assert counted.round_trips(lambda: counted.client.get("/healthz"), 200) == []


def test_get_of_job_takes_one_round_trip(counted: CountedClient) -> None:
    job = make_job(counted.client)
    assert_one_round_trip(
        counted.round_trips(lambda: counted.client.get(f"/api/scrape-jobs/{job['id']}"), 200)
    )


def test_get_of_unknown_job_takes_one_round_trip(counted: CountedClient) -> None:
    url = f"/api/scrape-jobs/{uuid.uuid4()}"
    assert_one_round_trip(counted.round_trips(lambda: counted.client.get(url), 404))


def test_update_takes_one_round_trip(counted: CountedClient) -> None:
    job = make_job(counted.client, "running")
    url = f"/api/scrape-jobs/{job['id']}"
    body = {"status": "running", "stats": {"pagesProcessed": 3}, "metadata": {"a": 1}}
    assert_one_round_trip(counted.round_trips(lambda: counted.client.put(url, json=body), 200))


def test_whole_job_sent_back_takes_one_round_trip(counted: CountedClient) -> None:
    job = make_job(counted.client, "running")
    url = f"/api/scrape-jobs/{job['id']}"
    assert_one_round_trip(counted.round_trips(lambda: counted.client.put(url, json=job), 200))
    assert_one_round_trip(
        counted.round_trips(lambda: counted.client.put(url, json={**job, "priority": 9}), 400)
    )


def test_refused_update_takes_one_round_trip(counted: CountedClient) -> None:
    job = make_job(counted.client, "completed")
    url = f"/api/scrape-jobs/{job['id']}"
    assert_one_round_trip(
        counted.round_trips(lambda: counted.client.put(url, json={"status": "running"}), 400)
    )


def test_update_with_old_etag_takes_one_round_trip(counted: CountedClient) -> None:
    url = f"/api/scrape-jobs/{make_job(counted.client)['id']}"
    stale = {"If-Match": '"99"'}
    assert_one_round_trip(
        counted.round_trips(lambda: counted.client.put(url, json={"stats": {}}, headers=stale), 412)
    )


def test_invalid_update_takes_no_round_trip(counted: CountedClient) -> None:
    url = f"/api/scrape-jobs/{make_job(counted.client)['id']}"
    assert counted.round_trips(lambda: counted.client.put(url, json={"retry_count": -1}), 400) == []


def test_cancellation_takes_one_round_trip(counted: CountedClient) -> None:
    ids = iter([make_job(counted.client)["id"] for _ in range(3)])
    assert_one_round_trip(
        counted.round_trips(lambda: counted.client.delete(f"/api/scrape-jobs/{next(ids)}"), 200)
    )


@pytest.mark.parametrize(
    "body", [{"priority": 9}, {"scheduled_for": None, "config": {"depth": 4}, "stats": {"a": 1}}]
)
def test_queue_patch_takes_at_most_four_round_trips(
    counted: CountedClient, body: dict[str, Any]
) -> None:
    job = make_job(counted.client, scheduled_for="2099-01-01T00:00:00Z")
    headers = {"Content-Type": "application/merge-patch+json"}

    def patch() -> TestResponse:
        return counted.client.patch(
            f"/api/scrape-jobs/{job['id']}", data=json.dumps(body), headers=headers
        )

    round_trips = counted.round_trips(patch, 200)
    assert len(round_trips) <= 4, round_trips


@pytest.mark.parametrize("count", [1, 50])
def test_creation_takes_one_round_trip(counted: CountedClient, count: int) -> None:
    body = [{"domain": new_domain()}] * count
    assert_one_round_trip(
        counted.round_trips(lambda: counted.client.post("/api/scrape-jobs", json=body), 201)
    )


def test_creation_with_key_takes_at_most_six_trips(counted: CountedClient) -> None:
    def create() -> TestResponse:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return counted.client.post(
            "/api/scrape-jobs", json={"domain": new_domain()}, headers=headers
        )

    assert len(counted.round_trips(create, 201)) <= 6


def test_patch_takes_at_most_four_round_trips(counted: CountedClient) -> None:
    url = f"/api/scrape-jobs/{make_job(counted.client)['id']}"
    headers = {"Content-Type": "application/merge-patch+json"}
    round_trips = counted.round_trips(
        lambda: counted.client.patch(url, data='{"stats": {"a": 1}}', headers=headers), 200
    )
    assert len(round_trips) <= 4, round_trips


def test_list_page_takes_one_round_trip(counted: CountedClient) -> None:
    make_job(counted.client)
    assert_one_round_trip(
        counted.round_trips(
            lambda: counted.client.get("/api/scrape-jobs?limit=5&status=pending"), 200
        )
    )


def test_history_page_takes_one_round_trip(counted: CountedClient) -> None:
    url = f"/api/scrape-jobs/{make_job(counted.client)['id']}/history"
    assert_one_round_trip(counted.round_trips(lambda: counted.client.get(url), 200))
