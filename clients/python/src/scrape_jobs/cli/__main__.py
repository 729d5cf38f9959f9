"""`python -m scrape_jobs.cli` runs the command line."""

from scrape_jobs.cli import main

main()
