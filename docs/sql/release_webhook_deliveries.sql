-- release_webhook_deliveries
--
-- The deliveries that the claim still holds are due at once, for any dispatcher.
--
-- Parameters: claim, job_ids, seqs, endpoint_ids

UPDATE webhook_deliveries d
SET claim = NULL, next_try_at = now()
WHERE d.claim = %(claim)s::uuid
    AND d.status = 'pending'
    AND (d.job_id, d.seq, d.endpoint_id) IN (
        SELECT * FROM unnest(%(job_ids)s::uuid[], %(seqs)s::bigint[], %(endpoint_ids)s::uuid[])
    )
RETURNING true
