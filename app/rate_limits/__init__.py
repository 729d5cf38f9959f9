"""Rate limits: how many requests a caller may send, and how many updates a job may receive."""
