"""Tenant isolation of webhooks: a receiver gets only the events of its customer."""

import json
from collections.abc import Iterator

import pytest

from support.database import migrate, new_database
from support.receiver import Receiver
from support.service import wait_until
from support.tenants import HOOKS, SINCE, SharedService, shared_service


@pytest.fixture
def own_database(server_url: str) -> Iterator[SharedService]:
    """A service with a database of its own, whose webhooks may be sent to this machine."""
    for url in new_database(server_url):
        migrate(url)
        with shared_service(url, webhook_allow=("127.0.0.0/8",)) as tenants:
            yield tenants


def wait_for_deliveries(tenants: SharedService) -> None:
    """Wait until no delivery is pending."""
    pending = (
        "SELECT (SELECT count(*) FROM webhook_deliveries WHERE status = 'pending')"
        " + (SELECT count(*) FROM outbox)"
    )
    wait_until(lambda: tenants.sql(pending) == [(0,)], 30)


def test_a_receiver_gets_only_its_customers_events(own_database: SharedService) -> None:
    tenants, holders = own_database, [own_database.a, own_database.b, own_database.admin]
    dispatcher = tenants.app.extensions["webhook_dispatcher"]
    with Receiver() as receiver:
        # Events from before the first endpoint wait in the outbox.
        owners = {holder.failed()["id"]: holder for holder in holders}
        hooks = {
            holder: holder.data("POST", HOOKS, {"url": f"{receiver.url}/{name}"})["id"]
            for holder, name in zip(holders, ("a", "b", "all"), strict=True)
        }
        dispatcher.start()
        try:
            owners.update({holder.failed()["id"]: holder for holder in holders})
            for holder in (tenants.a, tenants.b):
                holder.data("POST", f"{HOOKS}/{hooks[holder]}/test")
            wait_for_deliveries(tenants)
            assert len(receiver.at("/all")) == 12
            for path, holder in (("/a", tenants.a), ("/b", tenants.b)):
                events = [event_and_job(one.body) for one in receiver.at(path)]
                of_jobs = [job for event, job in events if event == "job_status_changed"]
                assert sorted(of_jobs) == sorted(
                    2 * [job for job, owner in owners.items() if owner is holder]
                )
                assert [event for event, _ in events if event != "job_status_changed"] == [
                    "webhook_test"
                ]
            tenants.sql("UPDATE webhook_deliveries SET status = 'failed', finished_at = now()")
            assert (
                tenants.a.ask("POST", f"{HOOKS}/{hooks[tenants.b]}/redeliver", SINCE).status_code
                == 404
            )
            assert (
                tenants.a.data("POST", f"{HOOKS}/{hooks[tenants.a]}/redeliver", SINCE)[
                    "redelivered"
                ]
                == 5
            )
            wait_for_deliveries(tenants)
            assert [len(receiver.at(path)) for path in ("/a", "/b", "/all")] == [10, 5, 12]
            first, again = (
                sorted(one.body for one in part)
                for part in (receiver.at("/a")[:5], receiver.at("/a")[5:])
            )
            assert first == again
        finally:
            dispatcher.stop()


def event_and_job(body: bytes) -> tuple[str, str]:
    """Return the event of a webhook and its job."""
    message = json.loads(body)
    return message["event"], message["job_id"]
