"""Progress bars of jobs on a terminal."""

from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from scrape_jobs.cli.output import number, printable, progress_text
from scrape_jobs.jobs import Job

_STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow"}


class JobBars:
    """A progress bar on standard error for each job, with rate and time left; a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.fields[domain]}", markup=False),
            _StatusColumn(),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[pages]}", markup=False),
            _RateColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}

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
        if job.is_over and not total:
            total = done or 1  # otherwise the bar would go on moving
        completed = min(done, total) if total else done
        if job.status == "completed":
            completed = total or completed
        fields: dict[str, Any] = {
            "domain": printable(job.domain),
            "status": job.status,
            "pages": progress_text(job),
        }
        if job.id not in self._tasks:
            self._tasks[job.id] = self._progress.add_task("", total=None, **fields)
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
