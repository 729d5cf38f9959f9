"""The web monitor: pages that show jobs, the queue, webhooks and statistics, and sign-in."""
