"""Limits on the time and bandwidth that one peer may use, and the list of discouraged IPs."""

from collections.abc import Sequence
from typing import Final

from chain.gossip.wire.address import Address
from chain.gossip.wire.compact import CompactBlock, GetBlockTransactions
from chain.gossip.wire.messages import (
    Addresses,
    BlockMessage,
    GetAddresses,
    GetData,
    GetHeaders,
    Headers,
    Inv,
    Message,
    NotFound,
    Ping,
    TxMessage,
)
from chain.primitives.encoding import DecodeError
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import SECOND_US
from chain.primitives.script import count_sigops, last_push
from chain.primitives.transaction import Transaction, TxIn
from chain.script.machine import OPERATIONS_MAX
from chain.script.opcodes import Op
from chain.script.taproot import TAPSCRIPT_LEAF, leaf_version

CPU_US_PER_S: Final = 50_000  # a peer's share of one core
BYTES_PER_S: Final = 1_000_000  # for messages that we did not request
CPU_BURST_S: Final = 2
BYTES_BURST: Final = 8_000_000  # two blocks
TRUSTED_FACTOR: Final = 4  # outbound and manual links
EXCESS_US: Final = 20_000  # extra cost of a message over its rate
DISCOURAGED_S: Final = 24 * 3600
DISCOURAGED_MAX: Final = 40_000
_KEY_BYTES: Final = 16
MESSAGE_US: Final = 20  # decoding and routing; the others are measured orders of magnitude
_HEADER_US: Final = 10
_ITEM_US: Final = 2
_TX_US: Final = 50
SIGNATURE_US: Final = 150
_HASHED_BYTES_PER_US: Final = 500
_HASH_OPCODE_US: Final = 4  # with an item of 520 bytes
_HASH_OPCODES: Final = bytes(
    [Op.OP_RIPEMD160, Op.OP_SHA1, Op.OP_SHA256, Op.OP_HASH160, Op.OP_HASH256]
)
_COUNTED_BYTES_MAX: Final = 3_600  # Bitcoin: MAX_STANDARD_P2WSH_SCRIPT_SIZE
_TAPSCRIPT_SIGNATURE_BYTES: Final = 50  # of witness for each, at least (BIP342)
_NODE_BYTES: Final = 32  # a control block has these, and 33 more
_PER_MINUTE: Final[dict[type[Message], int]] = {
    Headers: 30,
    CompactBlock: 30,
    GetBlockTransactions: 20,
    GetHeaders: 20,
    Inv: 60,
    Ping: 10,
    GetAddresses: 2,
    Addresses: 10,
}
_PER_BLOCK: Final = 3  # of each type about blocks, that a connected block adds
_ABOUT_BLOCKS: Final = (Headers, CompactBlock, GetBlockTransactions, GetHeaders)


class Bucket:
    """A token bucket with a steady refill and a bound; taking more than it holds leaves a debt."""

    __slots__ = ("_at_us", "_burst", "_level", "_rate")

    def __init__(self, rate_per_s: float, burst: float, now_us: int) -> None:
        self._rate = rate_per_s / SECOND_US
        self._burst = burst
        self._level = burst
        self._at_us = now_us

    @property
    def is_in_debt(self) -> bool:
        """Return whether the bucket was in debt after the last `take`."""
        return self._level < 0

    def take(self, count: float, now_us: int) -> None:
        """Take `count` tokens, going into debt if there are too few."""
        if self._level < self._burst:
            self._refill(now_us)
        else:
            self._at_us = now_us
        self._level -= count

    def try_take(self, count: float, now_us: int) -> bool:
        """Take `count` tokens if there are enough; return whether there were."""
        self._refill(now_us)
        if self._level < count:
            return False
        self._level -= count
        return True

    def put(self, count: float, now_us: int) -> None:
        """Put `count` tokens in, up to the bound."""
        self._refill(now_us)
        self._level = min(self._level + count, self._burst)

    def wait_us(self, now_us: int) -> int:
        """Return how long until there is no debt."""
        self._refill(now_us)
        return 0 if self._level >= 0 else int(-self._level / self._rate) + 1

    def _refill(self, now_us: int) -> None:
        level = self._level + (now_us - self._at_us) * self._rate
        self._level = level if level < self._burst else self._burst
        self._at_us = now_us


class LinkBudget:
    """The budget of one link: processor time, bytes, and messages of each type."""

    __slots__ = ("_bytes", "_cpu", "_factor", "_rates", "_signature_us")

    def __init__(self, factor: int, now_us: int, signature_us: int = SIGNATURE_US) -> None:
        """`factor` scales all rates, by trust; `signature_us` is the cost of one check."""
        self._signature_us = signature_us
        cpu = CPU_US_PER_S * factor
        self._cpu = Bucket(cpu, cpu * CPU_BURST_S, now_us)
        self._bytes = Bucket(BYTES_PER_S * factor, BYTES_BURST * factor, now_us)
        self._factor = factor
        self._rates: dict[type[Message], Bucket] = {}  # by message type received

    def charge(self, message: Message, now_us: int) -> None:
        """Charge the cost of a message that we requested."""
        self._cpu.take(message_cost_us(message, self._signature_us), now_us)

    def charge_unrequested(self, message: Message, size: int, now_us: int) -> None:
        """Charge an unrequested message; one over its type's rate costs more."""
        cost = message_cost_us(message, self._signature_us)
        if type(message) in _PER_MINUTE and not self._rate(message, now_us).try_take(1, now_us):
            cost += EXCESS_US
        self._cpu.take(cost, now_us)
        self._bytes.take(size, now_us)

    def blocks_connected(self, count: int, now_us: int) -> None:
        """Allow more messages about blocks, as the chain has grown by `count` blocks.

        Each block has cost work, and a young network may find several in a second.
        """
        for kind in _ABOUT_BLOCKS:
            if count > 0 and kind in self._rates:
                self._rates[kind].put(count * _PER_BLOCK, now_us)

    def _rate(self, message: Message, now_us: int) -> Bucket:
        """Return the bucket of a message type; an unused one starts full."""
        kind = type(message)
        rate = self._rates.get(kind)
        if rate is None:
            count = _PER_MINUTE[kind] * self._factor
            rate = self._rates[kind] = Bucket(count / 60, count, now_us)
        return rate

    def charge_input(self, transaction: Transaction, index: int, now_us: int) -> None:
        """Charge another run of the scripts of one input."""
        txin = transaction.inputs[index]
        self._cpu.take(_input_us(transaction, txin, self._signature_us), now_us)

    def charge_cpu(self, cost_us: int, now_us: int) -> None:
        """Charge work whose cost could not be computed from the message."""
        self._cpu.take(cost_us, now_us)

    def wait_us(self, now_us: int) -> int:
        """Return for how many microseconds this link should not be read; 0: keep reading."""
        if not (self._cpu.is_in_debt or self._bytes.is_in_debt):
            return 0  # the usual case, and a debt only shrinks with time
        return max(self._cpu.wait_us(now_us), self._bytes.wait_us(now_us))


def message_cost_us(message: Message, signature_us: int = SIGNATURE_US) -> int:
    """Return the approximate cost of handling a message, in microseconds."""
    match message:
        case BlockMessage():  # first: there are thousands in a first sync
            return MESSAGE_US  # its cost is in the validation, which we start ourselves
        case Headers(headers=headers):
            return MESSAGE_US + _HEADER_US * len(headers)
        case (
            Inv(items=items)
            | GetData(items=items)
            | NotFound(items=items)
            | CompactBlock(short_ids=items)
        ):
            return MESSAGE_US + _ITEM_US * len(items)
        case Addresses(records=records):
            return MESSAGE_US + _HEADER_US * len(records)
        case TxMessage(transaction=transaction):
            return MESSAGE_US + _TX_US + _scripts_us(transaction, signature_us)
        case _:
            return MESSAGE_US


def _scripts_us(transaction: Transaction, signature_us: int) -> int:
    """Return what one run of a transaction's scripts may cost, without knowing its coins."""
    return sum(_input_us(transaction, txin, signature_us) for txin in transaction.inputs)


def _input_us(transaction: Transaction, txin: TxIn, signature_us: int) -> int:
    """Return what one run of an input's scripts may cost.

    Signatures without witness rules hash nearly all of the transaction each.
    """
    if txin.witness or not txin.script_sig:
        return _witness_us(txin.witness, signature_us)
    redeem_script = last_push(txin.script_sig) or b""
    signatures = 1 + count_sigops(redeem_script, accurate=True)
    hashed_us = transaction.base_size // _HASHED_BYTES_PER_US
    hashes = min(_hash_opcodes(redeem_script), OPERATIONS_MAX)
    return (signature_us + hashed_us) * signatures + _HASH_OPCODE_US * hashes


def _witness_us(witness: Sequence[bytes], signature_us: int) -> int:
    """Return what a witness may cost, at least one signature.

    Tapscripts have a budget of signatures, and none of operations; other scripts over
    _COUNTED_BYTES_MAX are refused unseen.
    """
    script = witness[-1] if witness else b""
    if len(script) % _NODE_BYTES == 1 and leaf_version(script) == TAPSCRIPT_LEAF:
        signatures = 1 + sum(map(len, witness)) // _TAPSCRIPT_SIGNATURE_BYTES
        hashes = sum(map(_hash_opcodes, witness[-2:-1]))  # of the script before the control block
    elif len(script) <= _COUNTED_BYTES_MAX:
        signatures = max(count_sigops(script, accurate=True), 1)
        hashes = min(_hash_opcodes(script), OPERATIONS_MAX)
    else:
        signatures, hashes = 1, 0
    return signature_us * signatures + _HASH_OPCODE_US * hashes


def _hash_opcodes(script: bytes) -> int:
    """Return how many hash opcodes a script has, at most: bytes in pushes look like them, too."""
    return len(script) - len(script.translate(None, _HASH_OPCODES))


class Discouraged:
    """IPs that misbehaved within a day, by keyed hash: accepted only while there is room."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._until_s: dict[bytes, int] = {}

    def add(self, address: Address, unix_s: int) -> None:
        """Add an IP, forgetting the oldest if there are too many."""
        key = self._key(address)
        self._until_s.pop(key, None)
        self._until_s[key] = unix_s + DISCOURAGED_S
        if len(self._until_s) > DISCOURAGED_MAX:
            del self._until_s[next(iter(self._until_s))]

    def has(self, address: Address, unix_s: int) -> bool:
        """Return whether an IP misbehaved within a day."""
        key = self._key(address)
        until_s = self._until_s.get(key, 0)
        if until_s > unix_s + DISCOURAGED_S:  # our clock was set back
            until_s = self._until_s[key] = unix_s + DISCOURAGED_S
        return until_s > unix_s

    def save(self, unix_s: int) -> bytes:
        """Return the entries that are still in force, as bytes."""
        return b"".join(
            key + until_s.to_bytes(8, "little")
            for key, until_s in self._until_s.items()
            if until_s > unix_s
        )

    def load(self, data: bytes) -> None:
        """Load what `save` returned. Raises DecodeError: damaged; nothing is loaded then."""
        whole, rest = divmod(len(data), _KEY_BYTES + 8)
        if rest or whole > DISCOURAGED_MAX:
            raise DecodeError(f"{len(data)} bytes of discouraged peers")
        for at in range(0, len(data), _KEY_BYTES + 8):
            key, until = data[at : at + _KEY_BYTES], data[at + _KEY_BYTES : at + _KEY_BYTES + 8]
            self._until_s[key] = int.from_bytes(until, "little")

    def __len__(self) -> int:
        return len(self._until_s)

    def _key(self, address: Address) -> bytes:
        return sha256d(self._secret + b"discouraged" + address.ip)[:_KEY_BYTES]
