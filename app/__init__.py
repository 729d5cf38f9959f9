"""The Scrape Job API: one place for the state of scrape jobs."""

__version__ = "0.1.0"
