"""The append-only log of what happened to every job: the one source of history, webhooks, live
updates, statistics."""
