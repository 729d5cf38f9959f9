"""Which changes a stream shows, and which fields of their jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.database import tenant_scope
from app.jobs.list_queries import JobFilters
from app.jobs.representation import FIELDS
from app.live.changes import ChangedJob, JobChange

DOCUMENTS = ("config", "metadata")
"""Fields that the stream of a list shows only if the client names them, because of their size."""

ALL_JOBS = JobFilters()

LISTED_FIELDS = tuple(name for name in FIELDS if name not in DOCUMENTS)


@dataclass(frozen=True, slots=True)
class Selection:
    """The jobs and fields that a stream shows.

    Attributes:
        customer: The tenant scope of the caller; None: all customers.
        filters: The filters of the list.
        fields: The fields to show of each job, in the order of FIELDS.
        job_id: The only job to show, or None.
    """

    customer: UUID | None
    filters: JobFilters = ALL_JOBS
    fields: Sequence[str] = FIELDS
    job_id: UUID | None = None

    @property
    def shows_documents(self) -> bool:
        """Whether `fields` contains one of DOCUMENTS."""
        return any(name in self.fields for name in DOCUMENTS)

    def may_include(self, job: ChangedJob) -> bool:
        """Return whether a change of the job may be shown, by its constant fields."""
        wanted = self.filters
        return (
            tenant_scope.sees(self.customer, job.customer)
            and self.job_id in (None, job.id)
            and wanted.domain in (None, job.domain)
            and wanted.job_type in (None, job.job_type)
            and wanted.customer_config_id in (None, job.customer)
            and (wanted.created_after is None or job.created_at >= wanted.created_after)
            and (wanted.created_before is None or job.created_at < wanted.created_before)
        )

    def includes(self, change: JobChange) -> bool:
        """Return whether the change is shown.

        The status before or after it must match, so that a list can remove the job.
        """
        wanted, updated_at = self.filters, change.job.updated_at
        return (
            self.may_include(change.job)
            and (
                wanted.status is None
                or change.new_status in wanted.status
                or change.old_status in wanted.status
            )
            and (wanted.tag is None or _has_tag(change.tags, wanted.tag))
            and (wanted.updated_after is None or updated_at >= wanted.updated_after)
            and (wanted.updated_before is None or updated_at < wanted.updated_before)
        )


def _has_tag(tags: object, tag: str) -> bool:
    return isinstance(tags, list) and tag in tags
