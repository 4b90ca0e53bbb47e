"""Policy: what this node relays and mines, stricter than consensus.

A transaction that fails here is not invalid: another node, or a later release, may accept it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from chain.consensus.coin import Coin
from chain.primitives.script import (
    OP_16,
    ScriptKind,
    operations,
    p2wpkh_key_hash,
    script_kind,
)
from chain.primitives.sighash import SIGHASH_ALL
from chain.primitives.signature import is_low_s, is_strict_der
from chain.primitives.transaction import Transaction, TxOut

RATE_VBYTES: Final = 1000  # rates are grains per 1000 virtual bytes, as Bitcoin's CFeeRate
TX_WEIGHT_MAX: Final = 400_000  # Bitcoin: MAX_STANDARD_TX_WEIGHT
TX_STRIPPED_BYTES_MIN: Final = 65  # 64 bytes can be confused with an inner node of the Merkle tree
TX_VERSIONS: Final = (1, 2)
OP_RETURN_BYTES_MAX: Final = 83  # of script
DUST_GRAINS: Final = 294  # a P2WPKH output below costs more to spend than it holds, at 3 grains/vB
_COMPRESSED_KEY_BYTES: Final = 33


class PolicyReason(StrEnum):
    """Why a transaction is refused although it may be valid. The text is Bitcoin Core's."""

    COINBASE = "coinbase"
    VERSION = "version"
    SIZE = "tx-size"
    SIZE_SMALL = "tx-size-small"
    SCRIPT_SIG = "scriptsig-size"
    SCRIPT_PUBKEY = "scriptpubkey"
    OP_RETURNS = "multi-op-return"
    DUST = "dust"
    NOT_FINAL = "non-final"
    NOT_FINAL_BIP68 = "non-BIP68-final"
    IN_POOL = "txn-already-in-mempool"
    IN_POOL_OTHER_WITNESS = "txn-same-nonwitness-data-in-mempool"
    KNOWN = "txn-already-known"
    CONFLICT = "txn-mempool-conflict"
    INPUTS_NONSTANDARD = "bad-txns-nonstandard-inputs"
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

    def __init__(self, reason: PolicyReason, detail: str = "", *, is_invalid: bool = False) -> None:
        super().__init__(f"{reason}, {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
        self.is_invalid = is_invalid  # it is invalid in a block, too

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


def check_standard(transaction: Transaction) -> None:
    """Check a transaction's form (Bitcoin: IsStandardTx, and the least size of PreChecks).

    Raises PolicyError: COINBASE, VERSION, SIZE, SIZE_SMALL, SCRIPT_SIG, SCRIPT_PUBKEY, DUST,
    OP_RETURNS.
    """
    if transaction.is_coinbase:
        raise PolicyError(PolicyReason.COINBASE)
    if transaction.version not in TX_VERSIONS:
        raise PolicyError(PolicyReason.VERSION)
    if transaction.weight > TX_WEIGHT_MAX:
        raise PolicyError(PolicyReason.SIZE, f"{transaction.weight} weight units")
    if any(txin.script_sig for txin in transaction.inputs):  # no spendable script needs one
        raise PolicyError(PolicyReason.SCRIPT_SIG)
    for out in transaction.outputs:
        _check_output(out)
    if sum(script_kind(out.script) is ScriptKind.OP_RETURN for out in transaction.outputs) > 1:
        raise PolicyError(PolicyReason.OP_RETURNS)
    if transaction.base_size < TX_STRIPPED_BYTES_MIN:
        raise PolicyError(PolicyReason.SIZE_SMALL, f"{transaction.base_size} bytes")


def check_standard_spends(transaction: Transaction, coins: Sequence[Coin]) -> None:
    """Check that each input spends P2WPKH in the one form that nobody else can alter.

    Raises PolicyError: INPUTS_NONSTANDARD, SCRIPT. Signatures are not verified.
    """
    for txin, coin in zip(transaction.inputs, coins, strict=True):
        if p2wpkh_key_hash(coin.script) is None:
            raise PolicyError(PolicyReason.INPUTS_NONSTANDARD)
        if len(txin.witness) == 2:  # consensus refuses the others, with its own reason
            _check_witness(*txin.witness)


def script_failed(detail: str, *, is_invalid: bool = False) -> PolicyError:
    """Return the error for a spend that does not verify."""
    return PolicyError(PolicyReason.SCRIPT, detail, is_invalid=is_invalid)


def _check_output(out: TxOut) -> None:
    kind = script_kind(out.script)
    if kind is ScriptKind.OP_RETURN:
        if len(out.script) > OP_RETURN_BYTES_MAX or not _is_push_only(out.script[1:]):
            raise PolicyError(PolicyReason.SCRIPT_PUBKEY)
        return  # nobody can spend it, so it is no dust
    if kind is not ScriptKind.P2WPKH:
        raise PolicyError(PolicyReason.SCRIPT_PUBKEY)
    if out.value < DUST_GRAINS:
        raise PolicyError(PolicyReason.DUST, f"{out.value} grains")


def _is_push_only(script: bytes) -> bool:
    """Return whether a script has only complete pushes (Bitcoin: IsPushOnly)."""
    seen = 0
    for opcode, data in operations(script):
        if opcode > OP_16:
            return False
        seen += _operation_bytes(opcode, data)
    return seen == len(script)


def _operation_bytes(opcode: int, data: bytes | None) -> int:
    if data is None:
        return 1
    length_bytes = 1 << (opcode - 0x4C) if opcode >= 0x4C else 0  # of OP_PUSHDATA1, 2 and 4
    return 1 + length_bytes + len(data)


def _check_witness(signature: bytes, key: bytes) -> None:
    """Check against malleability, with Bitcoin's texts (ScriptErrorString)."""
    if not is_strict_der(signature[:-1]):
        return  # consensus refuses it
    if signature[-1] != SIGHASH_ALL:
        raise script_failed("Signature hash type missing or not understood")
    if not is_low_s(signature[:-1]):
        raise script_failed("Non-canonical signature: S value is unnecessarily high")
    if len(key) != _COMPRESSED_KEY_BYTES or key[0] not in (2, 3):
        raise script_failed("Using non-compressed keys in segwit")
