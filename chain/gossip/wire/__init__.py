"""What peers write to each other: messages, frames and the handshake, bytes in, bytes out."""
