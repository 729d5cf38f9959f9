"""Secrets in names of keys, exceptions and database errors: the logs do not contain them."""

import io
import json
import logging
from collections.abc import Mapping

import psycopg2

from app.api_keys import service as keys
from app.text.sanitising import one_line
from support.hostile_texts import STRINGS, check, database_texts, faults, secret
from support.recording_clients import JOBS, InProcessClient, app_with_keys, faults_of_answers


def test_the_name_of_a_key_is_sanitised(database: str) -> None:
    with app_with_keys(database) as (app, _):
        run = app.test_cli_runner().invoke
        shown = []
        for one in STRINGS:
            made = run(args=["keys", "create", one.text, "--scope", "jobs:write"])
            assert made.exit_code == (0 if len(one_line(one.text)) <= keys.MAX_NAME else 1), (
                made.output
            )
            shown.append(made.output)
        listed = run(args=["keys", "list"]).output
        assert listed.count("note-") > len(STRINGS) / 2
        found = [fault for text in (*shown, listed) for fault in faults("the command", text)]
        for named in [text.split()[0] for text in shown if text.startswith("sjk_")][::10]:
            client = InProcessClient(app, named)
            created = client.call("POST", JOBS, {"domain": "named.example"})
            assert created.status == 201
            found += faults_of_answers(client)
        found += [
            fault for where, text in database_texts(database) for fault in faults(where, text)
        ]
    check(found)


def test_logs_mask_the_texts_of_exceptions(logged: Mapping[str, io.StringIO]) -> None:
    log = logging.getLogger("app.test")
    for one in STRINGS:
        try:
            raise ValueError(f"cannot read {one.text}")
        except ValueError:
            log.exception("unexpected error")
        log.warning("the text was %s", one.text)
    found = [
        fault for line in logged["json"].getvalue().splitlines() for fault in faults("json", line)
    ]
    text = logged["terminal"].getvalue()
    assert text.count("ValueError: cannot read note-") == len(STRINGS)
    check([*found, *(fault for line in text.split("\n") for fault in faults("terminal", line))])


def test_logs_omit_a_document_refused_by_the_database(
    database: str, logged: Mapping[str, io.StringIO]
) -> None:
    with app_with_keys(database) as (app, key):
        with psycopg2.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute("ALTER TABLE scrape_jobs ADD CONSTRAINT refused CHECK (priority <> 9)")
        connection.close()
        client = InProcessClient(app, key)
        body = {
            "domain": "refused.example",
            "priority": 9,
            "config": {"k": secret(1, 20, "")},
            "metadata": {"k": "\u202e"},
        }
        answer = client.call("POST", JOBS, body)
        assert (answer.status, json.loads(answer.texts[-1])["details"]) == (500, "Database error")
    assert "CheckViolation" in logged["json"].getvalue()
    found = [
        fault for line in logged["json"].getvalue().splitlines() for fault in faults("json", line)
    ]
    check(
        [
            *found,
            *(
                fault
                for line in logged["terminal"].getvalue().split("\n")
                for fault in faults("terminal", line)
            ),
        ]
    )
