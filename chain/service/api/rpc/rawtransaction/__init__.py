"""The methods about transactions, their proofs and PSBTs (Bitcoin Core: rpc/rawtransaction.cpp)."""
