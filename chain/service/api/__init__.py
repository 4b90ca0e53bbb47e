"""The interfaces for people and programs: Esplora, JSON-RPC, the node's own JSON, and pages."""
