"""Rate limits: the maximum requests a minute of each caller, and updates of each job."""
