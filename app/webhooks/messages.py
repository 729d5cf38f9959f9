"""SQL fragments for the message about a status change, which the fan-out and replays share."""

from app.database import timestamp


def body(event: str, job: str) -> str:
    """Return SQL for the body of the message about the status change `event` of `job`."""
    return f"""(SELECT row_to_json(b)::text FROM (SELECT
        'job_status_changed' AS event, {event}.job_id, {job}.domain,
        {event}.old_status, {event}.new_status, {event}.stats,
        {timestamp(f"{event}.at")} AS timestamp) AS b)"""


def wants(endpoint: str, change: str) -> str:
    """Return the SQL condition that the filters of `endpoint` match a `change`.

    `change` has the columns new_status, job_type, domain and customer_config_id.
    """
    return f"""(({endpoint}.statuses IS NULL OR {change}.new_status = ANY({endpoint}.statuses))
        AND ({endpoint}.job_types IS NULL OR {change}.job_type = ANY({endpoint}.job_types))
        AND ({endpoint}.domains IS NULL OR {change}.domain = ANY({endpoint}.domains))
        AND ({endpoint}.customer_config_id IS NULL
            OR {endpoint}.customer_config_id = {change}.customer_config_id))"""


def webhook_id(job_id: str, seq: str, endpoint_id: str) -> str:
    """Return SQL for the id of a delivery, which is derived from the change and the endpoint."""
    return f"md5(concat_ws(' ', {job_id}, {seq}, {endpoint_id}))::uuid"
