"""The jobs: their rules, their rows, and the endpoints that change and show them."""
