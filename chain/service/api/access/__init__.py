"""Who may use the API, and how much of it at a time."""
