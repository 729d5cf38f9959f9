"""All the SQL statements that the application has."""

from app.database.catalogue import statements

__all__ = ["statements"]
