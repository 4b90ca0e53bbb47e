"""Policy: what this node relays and mines, stricter than consensus.

A transaction that fails here is not invalid: another node, or a later release, may accept it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from chain.primitives.dust import dust_threshold
from chain.primitives.script import last_push, multisig_numbers
from chain.primitives.solver import OutputType, output_type
from chain.primitives.transaction import WITNESS_SCALE, Transaction, TxOut

RATE_VBYTES: Final = 1000  # rates are grains per 1000 virtual bytes, as Bitcoin's CFeeRate
TX_WEIGHT_MAX: Final = 400_000  # Bitcoin: MAX_STANDARD_TX_WEIGHT
TX_STRIPPED_BYTES_MIN: Final = 65  # 64 bytes can be confused with an inner node of the Merkle tree
TX_VERSIONS: Final = (1, 2)
SCRIPT_SIG_BYTES_MAX: Final = 1_650  # 15 signatures and keys (MAX_STANDARD_SCRIPTSIG_SIZE)
DATA_BYTES_MAX: Final = 100_000  # of all OP_RETURN scripts together (MAX_OP_RETURN_RELAY)
MULTISIG_KEYS_MAX: Final = 3  # of a bare one
SIGOP_WEIGHT: Final = 20  # at least, for each unit of sigops cost (DEFAULT_BYTES_PER_SIGOP)


class PolicyReason(StrEnum):
    """Why a transaction is refused although it may be valid. The text is Bitcoin Core's."""

    COINBASE = "coinbase"
    VERSION = "version"
    SIZE = "tx-size"
    SIZE_SMALL = "tx-size-small"
    SCRIPT_SIG_SIZE = "scriptsig-size"
    SCRIPT_SIG_PUSHES = "scriptsig-not-pushonly"
    SCRIPT_PUBKEY = "scriptpubkey"
    DATA_CARRIER = "datacarrier"
    DUST = "dust"
    NOT_FINAL = "non-final"
    NOT_FINAL_BIP68 = "non-BIP68-final"
    IN_POOL = "txn-already-in-mempool"
    IN_POOL_OTHER_WITNESS = "txn-same-nonwitness-data-in-mempool"
    KNOWN = "txn-already-known"
    CONFLICT = "txn-mempool-conflict"
    INPUTS_NONSTANDARD = "bad-txns-nonstandard-inputs"
    WITNESS_NONSTANDARD = "bad-witness-nonstandard"
    SIGOPS = "bad-txns-too-many-sigops"
    FEE_BELOW_RELAY = "min relay fee not met"
    FEE_BELOW_POOL = "mempool min fee not met"
    PACKAGE = "too-long-mempool-chain"
    SPENDS_CONFLICT = "bad-txns-spends-conflicting-tx"
    REPLACED_TOO_MANY = "too many potential replacements"
    REPLACEMENT_NEW_PARENT = "replacement-adds-unconfirmed"
    REPLACEMENT_FEE = "insufficient fee"
    SCRIPT = "mempool-script-verify-flag-failed"
    POOL_FULL = "mempool full"


class PolicyError(Exception):
    """The node refuses the transaction; nothing was changed."""

    def __init__(
        self,
        reason: PolicyReason,
        detail: str = "",
        *,
        is_invalid: bool = False,
        failed_input: int | None = None,
    ) -> None:
        super().__init__(f"{reason}, {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
        self.is_invalid = is_invalid  # it is invalid in a block, too
        self.failed_input = failed_input  # of SCRIPT: it was run twice

    @property
    def reject_reason(self) -> str:
        """The text as Bitcoin Core prints it; a script failure's holds the detail."""
        if self.reason is PolicyReason.SCRIPT:
            return f"{self.reason} ({self.detail})"
        return str(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits that a node's owner may set."""

    relay_feerate_min: int = 1000  # grains per 1000 vB
    incremental_feerate: int = 1000  # what a replacement must pay for its own relay
    pool_bytes_max: int = 100_000_000  # of estimated memory
    expiry_s: int = 14 * 24 * 3600
    package_count_max: int = 25  # of a transaction with its ancestors, or with its descendants
    package_vbytes_max: int = 101_000
    replaced_max: int = 100  # transactions that one replacement may evict (BIP125 rule 5)


def fee_at(rate: int, vbytes: int) -> int:
    """Return the grains that `vbytes` cost at `rate` per 1000, rounded up."""
    return -(-rate * vbytes // RATE_VBYTES)


def virtual_size(weight: int, sigops_cost: int) -> int:
    """Return the virtual bytes that fees are paid for (Bitcoin: GetVirtualTransactionSize).

    A block's limits on weight and on signature operations fill up together that way.
    """
    return -(-max(weight, SIGOP_WEIGHT * sigops_cost) // WITNESS_SCALE)


def check_standard(transaction: Transaction) -> None:
    """Check a transaction's form (Bitcoin: IsStandardTx, and the least size of PreChecks).

    Raises PolicyError: COINBASE, VERSION, SIZE, SCRIPT_SIG_SIZE, SCRIPT_SIG_PUSHES, SCRIPT_PUBKEY,
    DATA_CARRIER, DUST, SIZE_SMALL.
    """
    if transaction.is_coinbase:
        raise PolicyError(PolicyReason.COINBASE)
    if transaction.version not in TX_VERSIONS:
        raise PolicyError(PolicyReason.VERSION)
    if transaction.weight > TX_WEIGHT_MAX:
        raise PolicyError(PolicyReason.SIZE, f"{transaction.weight} weight units")
    for txin in transaction.inputs:
        if len(txin.script_sig) > SCRIPT_SIG_BYTES_MAX:
            raise PolicyError(PolicyReason.SCRIPT_SIG_SIZE)
        if last_push(txin.script_sig) is None:
            raise PolicyError(PolicyReason.SCRIPT_SIG_PUSHES)
    check_outputs(transaction.outputs)
    if transaction.base_size < TX_STRIPPED_BYTES_MIN:
        raise PolicyError(PolicyReason.SIZE_SMALL, f"{transaction.base_size} bytes")


def check_outputs(outputs: Sequence[TxOut]) -> None:
    """Check the types, data and values of outputs.

    Raises PolicyError: SCRIPT_PUBKEY, DATA_CARRIER, DUST.
    """
    data_bytes = 0
    for out in outputs:
        kind = output_type(out.script)
        if kind is OutputType.NULL_DATA:
            data_bytes += len(out.script)
            if data_bytes > DATA_BYTES_MAX:
                raise PolicyError(PolicyReason.DATA_CARRIER)
        elif not _is_standard_output(out.script, kind):
            raise PolicyError(PolicyReason.SCRIPT_PUBKEY)
    for out in outputs:
        if out.value < dust_threshold(out.script):
            raise PolicyError(PolicyReason.DUST, f"{out.value} grains")


def _is_standard_output(script: bytes, kind: OutputType) -> bool:
    """Return whether an output of this type may be paid (Bitcoin: IsStandard)."""
    if kind is OutputType.MULTISIG:
        numbers = multisig_numbers(script)
        return numbers is not None and numbers[1] <= MULTISIG_KEYS_MAX
    return kind is not OutputType.NONSTANDARD
