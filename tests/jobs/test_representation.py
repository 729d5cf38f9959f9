"""The two forms of a job's JSON and tag: rendered into statements, and as database functions."""

import json
from uuid import UUID

from flask import Flask
from flask.testing import FlaskClient

from app import database
from app.database import Statement, array
from app.database.tenant_scope import all_customers
from app.jobs import read_queries
from app.jobs.representation import FOLLOWING, job_json, tag
from app.jobs.states import Status
from support.factories import make_job

BOTH_FORMS = Statement(
    "both_forms_of_a_job",
    promise="The tag and the JSON of each job, rendered into the statement and by the functions.",
    sql=f"""
    SELECT {tag("j")}, {job_json("j")}, job_tag_1(j), job_json_1(j, %(following)s::jsonb)
    FROM scrape_jobs j WHERE j.id = ANY(%(ids)s::uuid[])
    """,
)


def test_functions_and_statements_show_the_same(app: Flask, client: FlaskClient) -> None:
    jobs = [make_job(client, status) for status in Status]
    jobs.append(make_job(client, "failed", max_retries=0))
    jobs.append(make_job(client, scheduled_for="2099-01-01T00:00:00Z", config={"a": "ä😀"}))
    parameters = {
        "ids": array(job["id"] for job in jobs),
        "following": json.dumps(FOLLOWING),
    }
    with app.app_context(), all_customers():
        rows = database.run(BOTH_FORMS, parameters)
    assert len(rows) == len(jobs)
    for rendered_tag, rendered_json, function_tag, function_json in rows:
        assert (function_tag, function_json) == (rendered_tag, rendered_json)


def test_known_state_is_returned_without_its_json(app: Flask, client: FlaskClient) -> None:
    job_id = UUID(make_job(client)["id"])
    with app.app_context(), all_customers():
        whole = read_queries.get(job_id, ["99", "1-5"])
        known = read_queries.get(job_id, ["99", "1"])
    assert whole is not None
    assert whole.json.startswith('{"id":')
    assert known == whole._replace(json="")
