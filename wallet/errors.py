"""What can go wrong for the user, each kind with its exit code; the text is one line."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How `groat-wallet` ends; scripts rely on the numbers."""

    DONE = 0
    USAGE = 2  # wrong flag, address, amount or words (2 is also what the argument parser uses)
    NODE = 3  # the node cannot be reached, or does not answer as an Esplora server does
    NETWORK = 4  # the node is of another network
    WALLET = 5  # no such wallet, exists already, unsafe file, wrong password or damaged
    FUNDS = 6  # not enough coins that can be spent now
    REJECTED = 7  # the node refused the transaction
    UNSAFE = 8  # refused here unless forced: the fee is absurd
    CANCELLED = 9  # not confirmed: nothing was sent


def os_error_text(error: OSError) -> str:
    """Return what the system refused, in one line."""
    where = f"{error.filename}: " if error.filename else ""  # a full disk names no file
    return f"{where}{error.strerror or error}"


class WalletError(Exception):
    """Something that the user can do something about; the message is for them."""

    code: ExitCode = ExitCode.USAGE


class InputError(WalletError):
    """A flag, address, amount or word is wrong."""

    code = ExitCode.USAGE


class NodeError(WalletError):
    """The node does not answer as an Esplora server does."""

    code = ExitCode.NODE


class NodeDownError(NodeError):
    """The node cannot be reached at all."""


class NetworkError(WalletError):
    """The node is of another network."""

    code = ExitCode.NETWORK


class FileError(WalletError):
    """A wallet's file is missing, in the way, unsafe, or cannot be opened."""

    code = ExitCode.WALLET


class FundsError(WalletError):
    """The coins that can be spent now are not enough."""

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
