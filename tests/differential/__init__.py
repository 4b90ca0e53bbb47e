"""groat and Bitcoin Core's consensus engine are shown the same blocks and must say the same."""
