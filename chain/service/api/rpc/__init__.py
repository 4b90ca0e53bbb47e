"""JSON-RPC in Bitcoin Core's dialect, for miners, scripts and tools that speak it."""
