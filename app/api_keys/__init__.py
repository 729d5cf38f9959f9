"""API keys: authentication, scopes and the customer that a key is bound to."""
