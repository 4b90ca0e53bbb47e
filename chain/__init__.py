"""groat's node: data types, consensus rules, storage, peers and services."""
