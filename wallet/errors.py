"""The wallet's errors, each kind with its exit code; the text is one line."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How `groat-wallet` ends; scripts rely on the numbers."""

    DONE = 0
    USAGE = 2  # wrong flag, address, amount or words (2 is also what the argument parser uses)
    NODE = 3  # the node cannot be reached, or does not answer like an Esplora server
    NETWORK = 4  # the node is on another network
    WALLET = 5  # wallet missing, existing, unsafe, damaged, or wrong password
    FUNDS = 6  # not enough spendable coins
    REJECTED = 7  # the node refused the transaction
    UNSAFE = 8  # refused here unless forced: the fee is absurd
    CANCELLED = 9  # not confirmed: nothing was sent or signed


def os_error_text(error: OSError) -> str:
    """Return a system error in one line."""
    where = f"{error.filename}: " if error.filename else ""  # a full disk names no file
    return f"{where}{error.strerror or error}"


class WalletError(Exception):
    """An error that the user can act on; the message is for them."""

    code: ExitCode = ExitCode.USAGE


class InputError(WalletError):
    """A flag, address, amount or word is wrong."""

    code = ExitCode.USAGE


class NoDefaultNodeError(InputError):
    """No node runs here, and the network says no port for one: --node must."""


class NodeError(WalletError):
    """The node does not answer like an Esplora server."""

    code = ExitCode.NODE


class NodeAwayError(NodeError):
    """The node does not answer now: not reached, too slow, cut off, or missing behind a proxy.

    What it said before can still be shown.
    """


class NodeDownError(NodeAwayError):
    """The node cannot be reached at all: it was sent nothing."""


class NodeTlsError(NodeDownError):
    """A node is there, but TLS fails: its certificate, or http where it speaks https or reverse."""


class UnknownOutcomeError(NodeError):
    """The node may or may not have accepted a transaction."""


class NetworkError(WalletError):
    """The node is on another network."""

    code = ExitCode.NETWORK


class FileError(WalletError):
    """A wallet's file is missing, in the way, unsafe, or cannot be opened."""

    code = ExitCode.WALLET


class FundsError(WalletError):
    """The spendable coins are not enough."""

    code = ExitCode.FUNDS


class RejectedError(WalletError):
    """The node refused the transaction; the message holds its reason."""

    code = ExitCode.REJECTED


class UnsafeError(WalletError):
    """A payment that is most likely a mistake."""

    code = ExitCode.UNSAFE


class CancelledError(WalletError):
    """The user did not confirm."""

    code = ExitCode.CANCELLED
