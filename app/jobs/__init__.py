"""Jobs: their rules, their table, and the endpoints that create, change and show them."""
