"""What only a ledger on PostgreSQL needs."""
