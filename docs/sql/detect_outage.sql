-- detect_outage
--
-- Seen_at is at most half a second old. If it was older than OUTAGE_SECONDS before, the time
-- between is recorded as an outage, and one row gives its length in seconds. Several processes
-- update the same row: most of their updates write nothing. If the clock was set back, seen_at
-- follows it.
--
-- Parameters: none

WITH updated AS (
    INSERT INTO service_pulse AS p (id, seen_at)
    SELECT 1, clock_timestamp()
    WHERE NOT EXISTS (
        SELECT
        FROM service_pulse s
        WHERE s.seen_at BETWEEN clock_timestamp() - interval '0.5 seconds' AND clock_timestamp() +
            interval '0.5 seconds'
    )
    ON CONFLICT (id) DO UPDATE
    SET
        seen_at = excluded.seen_at,
        outages = CASE
            WHEN excluded.seen_at <= p.seen_at + interval '3 seconds' THEN p.outages
            ELSE coalesce(
                (
                    SELECT range_agg(o.outage)
                    FROM unnest(p.outages) AS o (outage)
                    WHERE upper(o.outage) > excluded.seen_at - interval '2 hours'
                ),
                '{}'
            )
            -- Without the bounds, so that consecutive outages are not merged into a longer one:
            -- its leases would get more time again and again.
            + tstzmultirange(tstzrange(p.seen_at, excluded.seen_at, '()'))
        END
    WHERE p.seen_at NOT BETWEEN excluded.seen_at - interval '0.5 seconds' AND excluded.seen_at +
        interval '0.5 seconds'
    RETURNING p.seen_at, p.outages
)
SELECT extract(epoch FROM upper(o.outage) - lower(o.outage))::float8
FROM updated, unnest(updated.outages) AS o (outage)
WHERE upper(o.outage) = updated.seen_at
