"""The methods about the chain (Bitcoin Core: rpc/blockchain.cpp)."""
