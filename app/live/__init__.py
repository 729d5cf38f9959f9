"""Live updates: streams of server-sent events that follow the event log."""
