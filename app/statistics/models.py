"""The running totals: what was counted of every status change, by time and by kind of job.

A row sums up the jobs of one `grain` of time from `start` on. It stands for all jobs where customer, domain and job
type are '', and otherwise for those of one customer ('none' for jobs of nobody), one domain and one type.
"""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Double, Integer, Text, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Model

ALL_TIME = 0
"""The grain of the rows that hold everything, whenever it was; their start is the epoch."""


class _Totals:
    __table_args__ = ({"postgresql_with": {"fillfactor": 80}},)

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

    # Jobs that stand in the status, and took it in this time; a job that goes on to another is taken off.
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
    # stats.performance of the attempts that ended: memoryUsage in MB, cpuUsage in percent, networkLatency in ms.
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
    """Failures by what they said, folded; with the last job that said so."""

    __tablename__ = "job_error_totals"

    pattern: Mapped[str] = mapped_column(Text, primary_key=True)
    failures: Mapped[int] = mapped_column(BigInteger)
    job_id: Mapped[uuid.UUID] = mapped_column(Uuid)
