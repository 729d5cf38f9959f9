-- The lease has its full length again from now on, and the job is returned as its tag and its JSON
-- text. Nothing else is changed, and no index is written. No row: the job is not running under this
-- token.
--
-- p_tenant       the customer whose jobs are visible; null for all
-- p_following    the statuses that may follow the job's status, as JSON

CREATE FUNCTION extend_lease_1(
    p_id uuid, p_tenant uuid, p_lease_token text, p_following json,
    OUT tag text, OUT job text
) RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
    RETURN;
END
$$;
