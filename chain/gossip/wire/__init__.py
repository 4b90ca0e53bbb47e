"""The wire format: messages, frames and the handshake; encoding and decoding without I/O."""
