"""Runs the application under gunicorn: settings, hooks, workers, signals and shared metrics."""
