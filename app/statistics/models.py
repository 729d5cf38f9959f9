"""The tables of the running totals.

A row sums up the status changes of one `grain` of time from `start` on. It covers all jobs if
customer, domain and job type are ''. Otherwise it covers the jobs of one kind: one customer ('none'
for jobs without a customer), one domain and one job type.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Double, Index, Integer, SmallInteger, Text, Uuid, text
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from app.database import Model

ALL_TIME = 0
"""The grain of the rows that cover all time; their start is the epoch."""


LAYOUT = 2
"""The version of the set of grains. A release that writes another version cannot count."""


class _Totals:
    __tablename__: str

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:  # noqa: N805 - of the class
        # A window of all kinds is one range of this index. Its cost does not depend on the number
        # of domains outside the window.
        index = Index(
            f"{cls.__tablename__}_of_kinds",
            "grain",
            "start",
            "customer",
            postgresql_where=text("domain > ''"),
        )
        return index, {"postgresql_with": {"fillfactor": 80}}

    # The length of the row in seconds.
    grain: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    # This order of the key keeps a span of time of all jobs, and of one domain, adjacent.
    domain: Mapped[str] = mapped_column(Text, primary_key=True)
    start: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    job_type: Mapped[str] = mapped_column(Text, primary_key=True)
    customer: Mapped[str] = mapped_column(Text, primary_key=True)


class JobTotals(_Totals, Model):
    """Counts, sums and peaks of the measures."""

    __tablename__ = "job_totals"

    layout: Mapped[int] = mapped_column(SmallInteger)
    # Jobs that entered this status in this time and are still in it. A job that leaves the status
    # is subtracted.
    pending: Mapped[int] = mapped_column(BigInteger)
    running: Mapped[int] = mapped_column(BigInteger)
    completed: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    cancelled: Mapped[int] = mapped_column(BigInteger)
    # Those of these jobs that have been retried.
    retried: Mapped[int] = mapped_column(BigInteger)
    # Completed jobs with a duration, and the sum of their durations.
    timed: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Double)
    # Pages of ended attempts, and the duration of the attempts that reported pages.
    pages: Mapped[float] = mapped_column(Double)
    page_seconds: Mapped[float] = mapped_column(Double)
    # stats.performance of ended attempts: memoryUsage in MB, cpuUsage in percent, networkLatency
    # in ms.
    memory_samples: Mapped[int] = mapped_column(BigInteger)
    memory_sum: Mapped[float] = mapped_column(Double)
    memory_peak: Mapped[float | None] = mapped_column(Double)
    cpu_samples: Mapped[int] = mapped_column(BigInteger)
    cpu_sum: Mapped[float] = mapped_column(Double)
    cpu_peak: Mapped[float | None] = mapped_column(Double)
    latency_samples: Mapped[int] = mapped_column(BigInteger)
    latency_sum: Mapped[float] = mapped_column(Double)
    latency_peak: Mapped[float | None] = mapped_column(Double)


class JobDurationTotals(_Totals, Model):
    """Completed jobs by duration: a histogram with logarithmic buckets."""

    __tablename__ = "job_duration_totals"

    bucket: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    jobs: Mapped[int] = mapped_column(BigInteger)


class JobErrorTotals(_Totals, Model):
    """Failures by error pattern, each with the last job that failed with it.

    The number of patterns is bounded for each span of time and kind of job; see
    `app.statistics.error_totals`. The row whose pattern is '' counts all other failures.
    """

    __tablename__ = "job_error_totals"

    pattern: Mapped[str] = mapped_column(Text, primary_key=True)
    failures: Mapped[int] = mapped_column(BigInteger)
    job_id: Mapped[uuid.UUID] = mapped_column(Uuid)
    # The maximum number of failures of this pattern that the row '' counted before this row
    # existed. In the row '' itself: the maximum number of failures of any single pattern in it.
    missed: Mapped[int] = mapped_column(BigInteger, server_default="0")


class StatisticsMark(Model):
    """The time since which a property holds; ``quarters``: totals of quarters are complete."""

    __tablename__ = "statistics_marks"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
