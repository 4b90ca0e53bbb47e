"""Reasons for which consensus refuses headers, blocks and transactions."""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Why a block or transaction was refused. The text is Bitcoin Core's, and part of the API."""

    # headers
    PROOF_OF_WORK = "high-hash"
    BITS = "bad-diffbits"
    TIME_TOO_OLD = "time-too-old"
    TIME_TOO_NEW = "time-too-new"
    VERSION = "bad-version"
    PARENT_MISSING = "prev-blk-not-found"
    PARENT_INVALID = "bad-prevblk"
    KNOWN_INVALID = "duplicate-invalid"
    # blocks
    MERKLE_ROOT = "bad-txnmrklroot"
    MERKLE_DUPLICATE = "bad-txns-duplicate"
    BLOCK_LENGTH = "bad-blk-length"
    BLOCK_WEIGHT = "bad-blk-weight"
    BLOCK_SIGOPS = "bad-blk-sigops"
    COINBASE_MISSING = "bad-cb-missing"
    COINBASE_MULTIPLE = "bad-cb-multiple"
    COINBASE_HEIGHT = "bad-cb-height"
    COINBASE_AMOUNT = "bad-cb-amount"
    WITNESS_NONCE = "bad-witness-nonce-size"
    WITNESS_COMMITMENT = "bad-witness-merkle-match"
    WITNESS_UNEXPECTED = "unexpected-witness"
    TXID_REPEATED = "bad-txns-BIP30"
    SCRIPT = "block-script-verify-flag-failed"
    FEES_RANGE = "bad-txns-accumulated-fee-outofrange"
    # transactions
    INPUTS_EMPTY = "bad-txns-vin-empty"
    OUTPUTS_EMPTY = "bad-txns-vout-empty"
    TX_OVERSIZE = "bad-txns-oversize"
    VALUE_NEGATIVE = "bad-txns-vout-negative"
    VALUE_TOO_LARGE = "bad-txns-vout-toolarge"
    VALUE_SUM_TOO_LARGE = "bad-txns-txouttotal-toolarge"
    INPUTS_DUPLICATE = "bad-txns-inputs-duplicate"
    COINBASE_LENGTH = "bad-cb-length"
    PREVOUT_NULL = "bad-txns-prevout-null"
    NOT_FINAL = "bad-txns-nonfinal"
    COIN_MISSING = "bad-txns-inputs-missingorspent"
    COIN_IMMATURE = "bad-txns-premature-spend-of-coinbase"
    INPUT_VALUES_RANGE = "bad-txns-inputvalues-outofrange"
    OUT_EXCEEDS_IN = "bad-txns-in-belowout"
    FEE_RANGE = "bad-txns-fee-outofrange"

    @property
    def is_mutation(self) -> bool:
        """Whether the fault may lie in bytes that the block's id does not commit to."""
        return self in _MUTATIONS

    @property
    def is_from_parent(self) -> bool:
        """Whether the fault lies with the parent or an earlier verdict, not with the sender."""
        return self in _FROM_PARENT

    @property
    def is_temporary(self) -> bool:
        """Whether the block or header may be valid later, so it is not marked as invalid."""
        return self in _TEMPORARY


_MUTATIONS: Final = frozenset(
    {
        Reason.MERKLE_ROOT,
        Reason.MERKLE_DUPLICATE,
        Reason.WITNESS_NONCE,
        Reason.WITNESS_COMMITMENT,
        Reason.WITNESS_UNEXPECTED,
    }
)

_FROM_PARENT: Final = frozenset({Reason.PARENT_INVALID, Reason.KNOWN_INVALID})
_TEMPORARY: Final = frozenset({Reason.PARENT_MISSING, Reason.TIME_TOO_NEW})


class InvalidError(Exception):
    """A block or transaction broke a rule; nothing was changed."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail

    @property
    def reject_reason(self) -> str:
        """The text as Bitcoin Core prints it, which for two reasons includes the detail."""
        if self.reason is Reason.VERSION:
            return f"{self.reason}({self.detail})"
        if self.reason is Reason.SCRIPT:
            return f"{self.reason} ({self.detail})"
        return str(self.reason)
