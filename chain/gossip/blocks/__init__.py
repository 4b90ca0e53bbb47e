"""Headers and blocks: synchronisation, download, relay and upload."""
