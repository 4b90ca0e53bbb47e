"""groat's node: what things are, what is allowed, what is stored, who is told."""
