"""Who may do what: API keys, their scopes, and the customer to whose jobs a key is bound."""
