"""Why the embedded PostgreSQL does not run."""


class CannotStart(Exception):
    """The embedded PostgreSQL cannot be started; the message is one line for the operator."""


class DataFolderInUse(CannotStart):
    """Another process owns the server on this data folder."""
