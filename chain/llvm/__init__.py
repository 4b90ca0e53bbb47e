"""LLVM code that several parts share: SHA-256, for the processor that it runs on."""
