"""The figures: running totals of what happened to jobs, and what they tell of any window of
time."""
