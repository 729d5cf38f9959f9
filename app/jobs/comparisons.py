"""The fields that are compared with the values that the job shows.

The function differing_fields_1 compares them. A value that the job already has counts as not given.
"""

QUEUE_FIELDS = ("priority", "max_retries", "config", "scheduled_for")
"""The fields that decide when a pending job is claimed. `config` holds maxConcurrent."""

COMPARED_FIELDS = (
    "id", "domain_id", "customer_config_id", "domain", "job_type", "priority", "max_retries",
    "config", "max_concurrent", "created_at", "updated_at", "scheduled_for", "allowed_transitions",
    "lease_expires_at", "worker_id",
)  # fmt: skip
"""The fields that can be compared, in the order in which a job shows them."""
