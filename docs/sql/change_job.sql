-- change_job
--
-- The result of the function change_job_1: the job is changed together with its event, or the first
-- refusal is named.
--
-- Parameters: id, tenant, request, entered_from, versions, lease_token, provenance, rules

SELECT *
FROM change_job_1(
    %(id)s, %(tenant)s, %(request)s, %(entered_from)s, %(versions)s, %(lease_token)s,
    %(provenance)s, %(rules)s
)
