"""Exceptions of the embedded PostgreSQL."""


class CannotStart(Exception):
    """The embedded PostgreSQL cannot be started. The message is one line for the operator."""


class DataFolderInUse(CannotStart):
    """Another process owns the server on this data folder."""
