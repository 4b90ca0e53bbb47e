"""The methods about peers and bans (Bitcoin Core: rpc/net.cpp)."""
