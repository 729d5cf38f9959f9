"""Random requests of two customers and an administrator who share a service."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from werkzeug.test import TestResponse

from app.webhooks.fan_out import FanOut
from support.tenants import HOOK, HOOKS, JOBS, KeyHolder, SharedService

DOMAINS = ("one.example", "two.example", "three.example")


TYPES = ("domain_scrape", "sitemap")


STATUSES = ("pending", "running", "completed", "failed", "cancelled")


@dataclass
class KnownObjects:
    """Ids and lease tokens of one customer, collected from answers."""

    jobs: list[str] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    hooks: list[str] = field(default_factory=list)


class RandomActions:
    """Random requests of two customers and an administrator, on one database."""

    def __init__(self, tenants: SharedService, seed: int) -> None:
        self.tenants = tenants
        self.chance = Random(seed)
        self.known = {
            tenants.a_id: KnownObjects(),
            tenants.b_id: KnownObjects(),
            None: KnownObjects(),
        }
        self.replays: list[tuple[KeyHolder, str, Any, str]] = []
        self.second = tenants.holder(tenants.a_id)
        """A second key of customer A."""

    def act(self) -> None:
        """Send one random request with a random key."""
        chance, tenants = self.chance, self.tenants
        owner = chance.choice([tenants.a_id, tenants.a_id, tenants.b_id, tenants.b_id, None])
        by_owner = {
            tenants.a_id: [tenants.a, self.second],
            tenants.b_id: [tenants.b],
            None: [tenants.admin],
        }
        holder = chance.choice(by_owner[owner])
        # An administrator has access to the objects of all customers.
        whose = chance.choice(list(self.known)) if owner is None else owner
        chance.choices(
            [self.create, self.claim, self.change, self.give, self.hook, self.deliver],
            [6, 3, 10, 3, 2, 1],
        )[0](holder, whose, self.known[whose])

    def create(self, holder: KeyHolder, whose: str | None, known: KnownObjects) -> None:
        chance = self.chance
        wanted = [
            self.job(whose, is_named=holder is self.tenants.admin)
            for _ in range(chance.choice([1, 1, 1, 4]))
        ]
        body: Any = wanted[0] if len(wanted) == 1 else wanted
        made = self.post(holder, JOBS, body)
        known.jobs += (
            [job["id"] for job in (made if isinstance(made, list) else [made])] if made else []
        )

    def job(self, whose: str | None, *, is_named: bool) -> dict[str, Any]:
        chance = self.chance
        return {
            "domain": chance.choice(DOMAINS),
            "job_type": chance.choice(TYPES),
            "priority": chance.randint(1, 10),
            "max_retries": chance.randint(0, 3),
            "metadata": {"tags": chance.sample(["red", "green"], chance.randint(0, 2))},
            "scheduled_for": chance.choice(
                [None, None, "2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"]
            ),
            **({"customer_config_id": whose} if is_named or chance.random() < 0.2 else {}),
        }

    def claim(self, holder: KeyHolder, _whose: str | None, _known: KnownObjects) -> None:
        chance = self.chance
        body: dict[str, Any] = {
            "worker_id": "w",
            "limit": chance.randint(1, 4),
            "lease_seconds": 3600,
        }
        if chance.random() < 0.5:
            body["domains"] = chance.sample(DOMAINS, 2)
        if chance.random() < 0.5:
            body["job_types"] = [chance.choice(TYPES)]
        for job in self.post(holder, f"{JOBS}/next", body) or []:
            owner = job["customer_config_id"]
            assert holder is self.tenants.admin or owner == self.owner_of(holder)
            self.known[owner].tokens[job["id"]] = job["lease_token"]

    def change(self, holder: KeyHolder, _whose: str | None, known: KnownObjects) -> None:
        chance = self.chance
        if not known.jobs:
            return
        path = f"{JOBS}/{chance.choice(known.jobs)}"
        if chance.random() < 0.15:
            self.done(holder.ask("DELETE", path))
            return
        performance = {
            "memoryUsage": f"{chance.randint(1, 9)}MB",
            "cpuUsage": chance.randint(1, 90),
        }
        body = {
            "status": chance.choice(STATUSES[1:]),
            "stats": {"pagesProcessed": chance.randint(1, 50), "performance": performance},
            "error_message": chance.choice(["Timeout after 3 s", "No route to 10.0.0.1", None]),
            "started_at": "2024-01-01T00:00:00Z",
            "completed_at": f"2024-01-01T00:{chance.randint(10, 59)}:00Z",
        }
        self.done(holder.ask("PUT", path, body))

    def give(self, holder: KeyHolder, _whose: str | None, known: KnownObjects) -> None:
        """Use a lease, or retry a job."""
        chance = self.chance
        if not known.jobs:
            return
        job = chance.choice(sorted(known.tokens) or known.jobs)
        token = {"X_Lease_Token": known.tokens[job]} if job in known.tokens else {}
        what = chance.choice(["heartbeat", "release", "retry"])
        self.done(holder.ask("POST", f"{JOBS}/{job}/{what}", {}, **token))

    def hook(self, holder: KeyHolder, _whose: str | None, known: KnownObjects) -> None:
        chance = self.chance
        if len(known.hooks) < 2:
            if holder is not self.tenants.admin or known is self.known[None]:
                known.hooks.append(self.data_of(holder.ask("POST", HOOKS, HOOK))["id"])
            return
        path = f"{HOOKS}/{chance.choice(known.hooks)}"
        match chance.choice(["test", "rotate-secret", "PUT", "PUT", "DELETE"]):
            case "PUT":
                domains = chance.choice([None, [DOMAINS[0]], [*DOMAINS[1:]]])
                self.done(
                    holder.ask("PUT", path, {"domains": domains, "active": chance.random() < 0.9})
                )
            case "DELETE":
                self.done(holder.ask("DELETE", path))
                known.hooks.remove(path.rpartition("/")[2])
            case word:
                self.done(holder.ask("POST", f"{path}/{word}"))

    def deliver(self, _holder: KeyHolder, _whose: str | None, _known: KnownObjects) -> None:
        """Fan out events into deliveries, and mark some as delivered and some as failed."""
        with self.tenants.app.app_context():
            FanOut().step()
        self.tenants.sql(
            "UPDATE webhook_deliveries SET status ="
            " (ARRAY['delivered', 'failed'])[1 + abs(hashtext(id::text) % 2)],"
            " finished_at = now() WHERE status = 'pending' AND hashtext(id::text) % 3 = 0"
        )

    def post(self, holder: KeyHolder, path: str, body: Any) -> Any:
        """Send a POST, often with one of the few idempotency keys that all callers share."""
        if self.chance.random() < 0.5:
            return self.data_of(holder.ask("POST", path, body))
        key = f"key-{self.chance.randint(1, 60)}"
        answer = holder.ask("POST", path, body, Idempotency_Key=key)
        if answer.status_code < 300 and "Idempotent-Replayed" not in answer.headers:
            self.replays.append((holder, path, body, key))
            return answer.get_json()["data"]
        assert answer.status_code in (200, 201, 422), answer.text
        return None

    def data_of(self, answer: TestResponse) -> Any:
        self.done(answer)
        return answer.get_json().get("data")

    def done(self, answer: TestResponse) -> None:
        assert answer.status_code < 500, answer.text

    def owner_of(self, holder: KeyHolder) -> str | None:
        return self.tenants.b_id if holder is self.tenants.b else self.tenants.a_id
