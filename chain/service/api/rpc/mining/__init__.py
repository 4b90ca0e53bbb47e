"""The methods for miners (Bitcoin Core: rpc/mining.cpp)."""
