"""The HTTP listener and its limits, for peers and for the API."""
