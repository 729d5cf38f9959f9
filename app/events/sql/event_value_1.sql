-- A JSON value as an event holds it: a value of more than 1,024 bytes is replaced by its size and
-- its digest. Null for null.
--
-- It is not in the language SQL, so that PostgreSQL does not copy its body into each call: that
-- would take longer than the calls.

CREATE FUNCTION event_value_1(p_value jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF octet_length(p_value::text) > 1024 THEN
        RETURN jsonb_build_object(
            'bytes', octet_length(p_value::text),
            'sha256', encode(sha256(convert_to(p_value::text, 'UTF8')), 'hex')
        );
    END IF;
    RETURN p_value;
END
$$;
