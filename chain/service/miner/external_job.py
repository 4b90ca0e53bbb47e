"""A mining job made from another node's block template (BIP22, BIP23, BIP145)."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from chain.consensus.block_validation import witness_commitment_script
from chain.primitives.block import Block, Header
from chain.primitives.hashes import sha256d
from chain.primitives.merkle import merkle_branch, merkle_root
from chain.primitives.numbers import NULL_HASH, NULL_OUTPOINT, Amount, Hash32, counted, parse_id
from chain.primitives.script import push, push_number
from chain.primitives.transaction import Transaction, TxIn, TxOut, decode_transaction

TRANSACTIONS_MAX: Final = 100_000  # more do not fit into any block
SCRIPT_SIG_BYTES_MAX: Final = 100  # of a coinbase
_EXTRANONCE_BYTES: Final = 8
_WITNESS_NONCE: Final = bytes(32)
# A coinbase locked to the height before never repeats an earlier one's id (BIP54).
_COINBASE_SEQUENCE: Final = 0xFFFFFFFE


class TemplateError(ValueError):
    """The node's answer is not a block template."""


@dataclass(frozen=True)
class ExternalJob:
    """A block chosen by another node, except for the coinbase."""

    version: int
    previous: Hash32
    bits: int
    target: int
    height: int
    time_min: int
    clock_ahead_s: int  # of the node's clock ahead of ours, when the template arrived
    value: Amount  # for the coinbase to pay
    extra: bytes  # bytes that the node requires in the coinbase's script
    script: bytes  # to which the coinbase pays
    transactions: tuple[Transaction, ...]
    has_commitment: bool

    def header(self, extranonce: int, time: int) -> Header:
        """Return the header over the coinbase with this extranonce, nonce 0; `time` is ours."""
        root = self.coinbase(extranonce).txid
        for sibling in self._branch:
            root = sha256d(root + sibling)
        when = max(time + self.clock_ahead_s, self.time_min)
        return Header(self.version, self.previous, root, when, self.bits, 0)

    def block(self, header: Header, extranonce: int) -> Block:
        """Return the block of a header that `header` made and a miner put a nonce into."""
        return Block(header, [self.coinbase(extranonce), *self.transactions])

    def coinbase(self, extranonce: int) -> Transaction:
        """Return the coinbase: BIP34's height, the node's required bytes, the extranonce."""
        unique = push(extranonce.to_bytes(_EXTRANONCE_BYTES, "little"))
        script_sig = push_number(self.height) + self.extra + unique
        outputs = [TxOut(self.value, self.script)]
        witness: tuple[bytes, ...] = ()
        if self.has_commitment:
            outputs.append(TxOut(Amount(0), self._commitment))
            witness = (_WITNESS_NONCE,)
        first = TxIn(NULL_OUTPOINT, script_sig, _COINBASE_SEQUENCE, witness)
        return Transaction(2, [first], outputs, self.height - 1)

    @cached_property
    def _commitment(self) -> bytes:
        root = merkle_root([NULL_HASH, *(tx.wtxid for tx in self.transactions)])[0]
        return witness_commitment_script(root, _WITNESS_NONCE)

    @cached_property
    def _branch(self) -> list[Hash32]:
        return merkle_branch([NULL_HASH, *(tx.txid for tx in self.transactions)], 0)


def read_template(template: object, script: bytes, now: int) -> ExternalJob:
    """Return the job of getblocktemplate's result, its coinbase paying to `script`.

    Raises TemplateError.
    """
    if not isinstance(template, dict):
        raise TemplateError("the node sent no block template")
    try:
        return _read(template, script, now)
    except KeyError as error:
        raise TemplateError(f"the node's block template lacks {error}") from error
    except (ValueError, TypeError, AttributeError, OverflowError, struct.error) as error:
        raise TemplateError(f"the node's block template is wrong: {error}") from error


def _read(template: Mapping[str, Any], script: bytes, now: int) -> ExternalJob:
    rules = template.get("rules", ())
    shown = template["transactions"]
    if len(shown) > TRANSACTIONS_MAX:
        raise ValueError(counted(len(shown), "transaction"))
    extra = b"".join(bytes.fromhex(text) for text in template.get("coinbaseaux", {}).values())
    height = int(template["height"])
    if len(push_number(height) + extra) + 1 + _EXTRANONCE_BYTES > SCRIPT_SIG_BYTES_MAX:
        raise ValueError("too much in coinbaseaux")
    value = int(template["coinbasevalue"])
    if not 0 <= value < 1 << 63:
        raise ValueError(f"coinbasevalue {value}")
    job = ExternalJob(
        version=int(template["version"]),
        previous=_block_id(template["previousblockhash"]),
        bits=int(template["bits"], 16),
        target=int(template["target"], 16),
        height=height,
        time_min=int(template.get("mintime", template["curtime"])),
        clock_ahead_s=int(template["curtime"]) - now,
        value=Amount(value),
        extra=extra,
        script=script,
        transactions=tuple(decode_transaction(bytes.fromhex(one["data"])) for one in shown),
        has_commitment="segwit" in rules or "!segwit" in rules,
    )
    job.header(0, now).encode()  # fails here rather than on a mining thread
    return job


def _block_id(text: str) -> Hash32:
    try:
        return parse_id(text)
    except ValueError:
        raise ValueError("previousblockhash is no block's id") from None
