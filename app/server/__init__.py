"""Runs the application under gunicorn: signals, workers, and answers to requests that never reach
the application."""
