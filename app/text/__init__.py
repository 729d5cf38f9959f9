"""Text from outside: sanitised, credentials masked, host names normalised."""
