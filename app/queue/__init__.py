"""The queue: which pending job a worker gets next, and what becomes of jobs whose worker is
silent."""
