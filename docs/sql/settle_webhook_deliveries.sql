-- settle_webhook_deliveries
--
-- Each attempt is recorded, and its delivery is delivered, pending again or failed, if the claim
-- still holds it. A success clears the endpoint's failing_since, a failure sets it. An endpoint
-- with a disabled_reason is inactive.
--
-- Parameters: results, claim

WITH result AS MATERIALIZED (
    SELECT *
    FROM jsonb_to_recordset(%(results)s::jsonb) AS r (
        job_id uuid, seq bigint, endpoint_id uuid, status text, wait_seconds float8, attempt jsonb,
        disabled_reason text
    )
),
settled AS (
    UPDATE webhook_deliveries d
    SET
        status = r.status,
        claim = NULL,
        failures = CASE WHEN r.status = 'delivered' THEN 0 ELSE d.failures + 1 END,
        next_try_at = now() + make_interval(secs => coalesce(r.wait_seconds, 0)),
        finished_at = CASE WHEN r.status <> 'pending' THEN now() END,
        tries = CASE WHEN jsonb_array_length(d.tries) < 50 THEN d.tries ELSE d.tries - 0 END ||
            r.attempt
    FROM result r
    WHERE d.job_id = r.job_id
        AND d.seq = r.seq
        AND d.endpoint_id = r.endpoint_id
        AND d.claim = %(claim)s::uuid
    RETURNING d.endpoint_id, d.status, r.disabled_reason
),
verdict AS (
    SELECT
        endpoint_id,
        bool_or(status = 'delivered') AS answers,
        max(disabled_reason) AS disabled_reason
    FROM settled
    GROUP BY endpoint_id
),
updated AS (
    UPDATE webhook_endpoints w
    SET
        failing_since = CASE WHEN v.answers THEN NULL ELSE coalesce(w.failing_since, now()) END,
        active = w.active AND v.disabled_reason IS NULL,
        disabled_reason = coalesce(v.disabled_reason, w.disabled_reason)
    FROM verdict v
    WHERE w.id = v.endpoint_id
        AND (v.disabled_reason IS NOT NULL OR v.answers <> (w.failing_since IS NULL))
)
SELECT count(*)
FROM settled
