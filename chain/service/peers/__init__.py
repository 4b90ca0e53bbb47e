"""The peer protocol over HTTP: executes what the gossip core decides, and decides nothing."""
