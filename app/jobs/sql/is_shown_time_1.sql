-- Whether a job shows both times as the same, in milliseconds.

CREATE FUNCTION is_shown_time_1(p_time timestamptz, p_other timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT date_trunc('milliseconds', p_time)
        IS NOT DISTINCT FROM date_trunc('milliseconds', p_other)
$$;
