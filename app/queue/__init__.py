"""The queue: workers claim pending jobs, and the sweeper rescues jobs whose lease has expired."""
