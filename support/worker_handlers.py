"""Handlers of workers in tests, in a module of their own: a new process can import them."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from scrape_jobs import Fatal, LeasedJob, Retry


def crawl(job: LeasedJob) -> dict[str, Any] | None:
    """Do what the config of the job says."""
    config = job.config
    match config.get("act"):
        case "raise":
            raise ValueError("broken page")
        case "retry" if job.attempt == 1:
            raise Retry("site is down", delay=0)
        case "fatal":
            raise Fatal("no such site")
        case "large":
            return {"notes": "a" * 300_000}
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            Path(config["mark"]).write_text(str(os.getpid()))
            while True:
                time.sleep(60)
    for page in range(config.get("pages", 3)):
        job.progress(pagesProcessed=page + 1, totalPages=config.get("pages", 3))
        time.sleep(config.get("seconds", 0.01))
    return {"dataExtracted": {"products": 156}}
