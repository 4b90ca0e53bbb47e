"""The methods about the mempool (Bitcoin Core: rpc/mempool.cpp)."""
