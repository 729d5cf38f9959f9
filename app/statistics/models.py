"""The running totals: what was counted of every status change, by time and by kind of job.

A row sums up the jobs of one `grain` of time from `start` on. It stands for all jobs where
customer, domain and job type are '', and otherwise for those of one customer ('none' for jobs of
nobody), one domain and one type.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Double, Index, Integer, SmallInteger, Text, Uuid, text
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from app.database import Model

ALL_TIME = 0
"""The grain of the rows that hold everything, whenever it was; their start is the epoch."""


LAYOUT = 2
"""The set of grains that this release keeps. A release that does not name it in its INSERTs cannot
count."""


class _Totals:
    __tablename__: str

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:  # noqa: N805 - of the class
        # A window of all kinds is a range of this index, whatever number of domains there is
        # outside the window.
        index = Index(
            f"{cls.__tablename__}_of_kinds",
            "grain",
            "start",
            "customer",
            postgresql_where=text("domain > ''"),
        )
        return index, {"postgresql_with": {"fillfactor": 80}}

    # Seconds that the row covers.
    grain: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    # In the order of the key: a span of time of all jobs lies together, and of a domain.
    domain: Mapped[str] = mapped_column(Text, primary_key=True)
    start: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    job_type: Mapped[str] = mapped_column(Text, primary_key=True)
    customer: Mapped[str] = mapped_column(Text, primary_key=True)


class JobTotals(_Totals, Model):
    """Counts, sums and peaks."""

    __tablename__ = "job_totals"

    layout: Mapped[int] = mapped_column(SmallInteger)
    # Jobs that stand in the status, and took it in this time; a job that goes on to another is
    # taken off.
    pending: Mapped[int] = mapped_column(BigInteger)
    running: Mapped[int] = mapped_column(BigInteger)
    completed: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    cancelled: Mapped[int] = mapped_column(BigInteger)
    # Those of them that had been retried.
    retried: Mapped[int] = mapped_column(BigInteger)
    # Completions, and how long their attempts took together.
    timed: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Double)
    # Pages of the attempts that ended, and how long those took that told of pages.
    pages: Mapped[float] = mapped_column(Double)
    page_seconds: Mapped[float] = mapped_column(Double)
    # stats.performance of the attempts that ended: memoryUsage in MB, cpuUsage in percent,
    # networkLatency in ms.
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
    """Completions by how long they took: a histogram whose buckets grow with the logarithm."""

    __tablename__ = "job_duration_totals"

    bucket: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    jobs: Mapped[int] = mapped_column(BigInteger)


class JobErrorTotals(_Totals, Model):
    """Failures by what they said, folded; with the last job that said so.

    Only so many patterns are kept of a span of time and a kind of job: see
    `app.statistics.error_queries`. The failures of all others are counted together in the row whose
    pattern is ''.
    """

    __tablename__ = "job_error_totals"

    pattern: Mapped[str] = mapped_column(Text, primary_key=True)
    failures: Mapped[int] = mapped_column(BigInteger)
    job_id: Mapped[uuid.UUID] = mapped_column(Uuid)
    # Failures of the pattern that may have been counted in the row '' before this row was made: at
    # most so many. In the row '' itself: at most so many failures of any one pattern are in it.
    missed: Mapped[int] = mapped_column(BigInteger, server_default="0")


class StatisticsMark(Model):
    """Since when something has been so: ``quarters``: since `at` all quarter hours are kept."""

    __tablename__ = "statistics_marks"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
