"""Event streams of the service, over real HTTP."""

from support.factories import new_domain
from support.service import Service
from support.streams import EventSource


def test_stream_shows_changes_of_jobs(service: Service) -> None:
    domain = new_domain()
    with EventSource(f"{service.jobs}/events?domain={domain}").ready() as source:
        assert [frame.event for frame in source.frames] == ["ready"]
        assert source.response.headers["Content-Type"].startswith("text/event-stream")
        assert source.response.headers["X-Accel-Buffering"] == "no"
        assert source.response.headers["Cache-Control"] == "no-store"
        job = service.create(domain=domain, metadata={"tags": ["a"]})
        service.create(domain=new_domain())
        created = source.wait_for_version(job["id"], 1)
        assert {name: created[name] for name in created if name != "job"} == {
            "id": job["id"],
            "version": 1,
            "at": job["created_at"],
            "action": "created",
            "old_status": None,
            "new_status": "pending",
        }
        shown = {name: job[name] for name in job if name not in ("config", "metadata")}
        assert created["job"] == shown
        assert list(created["job"]) == list(shown)
        changed = service.change(job["id"], status="running", stats={"pagesProcessed": 1})
        frame = source.wait_for_version(job["id"], 2)
        assert (frame["action"], frame["old_status"], frame["new_status"]) == (
            "updated",
            "pending",
            "running",
        )
        assert frame["job"]["stats"] == {"pagesProcessed": 1}
        assert frame["at"] == changed["updated_at"]
        assert {change["id"] for change in source.changes()} == {job["id"]}
