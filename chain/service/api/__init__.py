"""What people and their programs talk to: Esplora, JSON-RPC, the node's own JSON, and pages."""
