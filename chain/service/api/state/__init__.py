"""Chain and mempool as the API sees them: of a node in this process, or of a follower."""
