"""The embedded PostgreSQL: a real server from a wheel, with its data in a folder of this
service."""
