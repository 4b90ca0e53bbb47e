"""What several of the interfaces ask of a snapshot or of the node."""
