"""The peer protocol without any I/O: events in, actions out.

Nothing here reads a clock, a socket, a file or a source of randomness; the caller passes them in.
The service drives it over HTTP, the simulator over an event heap. No order depends on a set of
bytes, on hash() or on id(), so that equal inputs give equal outputs in every process.
"""
