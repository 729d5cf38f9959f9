"""Statistics: running totals of status changes, and the figures of any time window."""
