"""What every endpoint shares: envelope, errors, parsing, request ids, logs, health."""
