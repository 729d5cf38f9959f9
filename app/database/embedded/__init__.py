"""The embedded PostgreSQL: a server from a wheel, with its data in a folder of the service."""
