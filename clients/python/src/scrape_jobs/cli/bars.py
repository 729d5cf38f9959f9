"""Progress bars of jobs on a terminal."""

from collections.abc import Sequence
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from scrape_jobs.cli.output import number, printable, progress_text
from scrape_jobs.jobs import Job

_STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow"}


class JobBars:
    """A progress bar on standard error for each job, with rate and time left; a context manager."""

    def __init__(self, job_ids: Sequence[str]) -> None:
        """Show the bars in the order of `job_ids`."""
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.fields[domain]}", markup=False),
            _StatusColumn(),
            BarColumn(),
            TextColumn("{task.fields[percent]:>4}", markup=False),
            TextColumn("{task.fields[pages]}", markup=False),
            _RateColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        unread: dict[str, Any] = {"status": "", "percent": "", "pages": ""}
        self._tasks = {
            job_id: self._progress.add_task("", total=None, domain=job_id, **unread)
            for job_id in job_ids
        }

    @property
    def can_be_shown(self) -> bool:
        """Whether standard error is a terminal that can move its cursor."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()  # shows the cursor again

    def show(self, job: Job) -> None:
        """Show the progress of a job; more pages than the total count as all of them."""
        done, total = number(job, "pagesProcessed") or 0, number(job, "totalPages")
        completed = min(done, total) if total else done
        percent = f"{completed / total:.0%}" if total else ""
        if job.status == "completed":
            total = completed = total or 1
            percent = "100%"
        elif job.is_over and not total:
            total, completed = 1, 0  # otherwise the bar would go on moving
        fields: dict[str, Any] = {
            "domain": printable(job.domain),
            "status": job.status,
            "percent": percent,
            "pages": progress_text(job),
        }
        task = self._tasks[job.id]
        self._progress.update(task, total=total, completed=completed, **fields)
        if job.is_over:
            self._progress.stop_task(task)


class _StatusColumn(ProgressColumn):
    """The status of the job."""

    def render(self, task: Task) -> Text:
        status = task.fields["status"]
        return Text(status, style=_STYLES.get(status, ""))


class _RateColumn(ProgressColumn):
    """The pages per minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed * 60:.0f}/min" if speed else "")
