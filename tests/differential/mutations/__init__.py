"""Ways to make blocks that might divide groat from Bitcoin Core, a subject a file."""
