"""An Esplora server over HTTP: asked within limits, and believed only where it can be checked.

Transactions are rebuilt from the server's JSON and must have the id that they claim, so amounts and
scripts cannot be lied about; what a server can do is hide transactions.
"""

import json
import math
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import httpx

from chain.consensus.genesis import genesis_block
from chain.consensus.params import Params
from chain.endpoint import dial_url
from chain.primitives.encoding import DecodeError
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Amount, Hash32, Height, id_text, outpoint
from chain.primitives.transaction import Transaction, TxIn, TxOut, decode_transaction
from wallet.errors import InputError, NetworkError, NodeDownError, NodeError, RejectedError
from wallet.fees import RATE_SCALE, TARGET_MAX, FeeRate
from wallet.view import printable

PARALLEL_MAX: Final = 8  # requests at a time
PAGE_TRANSACTIONS: Final = 25  # confirmed transactions on a full page, Esplora's number
_PAGES_MAX: Final = 40_000  # a million transactions of one address, a devnet miner's two months
_REPLY_BYTES_MAX: Final = 32 << 20
_RECEIVED_BYTES_MAX: Final = 1 << 30  # in one command
_CONTAINERS_MAX: Final = 1_000_000  # lists and objects in one reply: each takes 50 bytes and more
_VALUES_MAX: Final = 4_000_000
_REPLY_S_MAX: Final = 60.0  # a reply that drips in is given up
_ERROR_CHARACTERS_MAX: Final = 300
_TARGET: Final = re.compile(r"[1-9]\d{0,3}", re.ASCII)
_NUMBER_MAX: Final = (1 << 32) - 1  # a block's time has 32 bits, and no height has more
_RPC_MESSAGE: Final = re.compile(r'"message": ?"([^"]+)"')
_TRIES: Final = 4  # while the server is busy (429, 503) or drops a kept connection
_WAIT_S: Final = 0.25  # doubles
_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
_BUSY: Final = frozenset({429, 503})
_UNKNOWN: Final = frozenset({400, 404})


@dataclass(frozen=True, slots=True)
class SeenTransaction:
    """A transaction as the server tells of it; height and time are None while unconfirmed."""

    transaction: Transaction
    height: Height | None
    time: int | None


class Esplora:
    """One server; threads may share it."""

    def __init__(
        self, url: str, since: int = 0, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Take the base URL (`http://host:port/api`); `transport` replaces the network.

        Histories need not go back behind the block at height `since`.
        """
        self.url = _checked_url(url)
        self._since = since
        self._parsing = threading.Lock()  # one reply at a time: parsed, it is many times as large
        self._received_bytes = 0
        self._client = httpx.Client(
            transport=transport,
            verify=self.url.startswith("https:"),  # reading all certificates takes a while
            trust_env=False,  # no proxy or credentials from the environment
            follow_redirects=False,
            timeout=_TIMEOUT,
            limits=httpx.Limits(max_connections=PARALLEL_MAX),
            headers={"Accept-Encoding": "identity", "User-Agent": "groat-wallet"},
        )

    def close(self) -> None:
        """Drop all connections."""
        self._client.close()

    def check_network(self, params: Params) -> None:
        """Raise NetworkError unless the server's block 0 is the network's genesis."""
        expected = genesis_block(params).id
        found = self.block_id(Height(0))
        if found != expected:
            raise NetworkError(
                f"the node at {self.url} is not of network {params.name}: "
                f"its genesis is {id_text(found)}, not {id_text(expected)}"
            )

    def tip(self) -> tuple[Hash32, Height]:
        """Return the id and height of the best block."""
        tip_id = self._id("/blocks/tip/hash")
        text = self._get("/blocks/tip/height")
        if not text.isdecimal() or len(text) > 10 or int(text) > _NUMBER_MAX:
            raise self._strange("/blocks/tip/height")
        return tip_id, Height(int(text))

    def block_id(self, height: Height) -> Hash32:
        """Return the id of the best chain's block at `height`."""
        return self._id(f"/block-height/{height}")

    def history(self, script: bytes, *, down_to: int = -1) -> list[SeenTransaction]:
        """Return every transaction that pays to or spends from `script`, newest first.

        Those at height `down_to` and below may be missing: the caller has them.
        """
        base = f"/scripthash/{sha256(script).hex()}/txs"
        down_to = max(down_to, self._since - 1)
        page = self._transactions(base)
        seen = list(page)
        lasts: set[Hash32] = set()
        while len(lasts) < _PAGES_MAX:
            confirmed = [each for each in page if each.height is not None]
            if len(confirmed) < PAGE_TRANSACTIONS or _height(confirmed[-1]) <= down_to:
                return seen
            last = confirmed[-1].transaction.txid
            if last in lasts:
                raise NodeError(f"the node at {self.url} shows the same page without end")
            lasts.add(last)
            page = self._transactions(f"{base}/chain/{id_text(last)}")
            seen += page
        raise NodeError(f"an address has more than {_PAGES_MAX * PAGE_TRANSACTIONS} transactions")

    def fee_estimates(self) -> dict[int, FeeRate]:
        """Return the fee rate for each target in blocks."""
        path = "/fee-estimates"
        table = self._json(path)
        if not isinstance(table, dict):
            raise self._strange(path)
        estimates = {}
        for target, rate in table.items():
            known = isinstance(rate, (int, Decimal)) and 0 <= rate < RATE_SCALE**3
            if not (known and _TARGET.fullmatch(target) and int(target) <= TARGET_MAX):
                raise self._strange(path)
            estimates[int(target)] = FeeRate(math.ceil(rate * RATE_SCALE))
        return estimates

    def transaction(self, txid: Hash32) -> Transaction | None:
        """Return a transaction of the chain or the mempool, or None if the node has none such."""
        path = f"/tx/{id_text(txid)}/hex"
        response = self._ask(path)
        if response.status_code in _UNKNOWN:
            return None
        try:
            found = decode_transaction(bytes.fromhex(self._text(path, response)))
        except (ValueError, DecodeError):
            raise self._strange(path) from None
        if found.txid != txid:
            raise self._strange(path)
        return found

    def is_confirmed(self, txid: Hash32) -> bool:
        """Tell whether a transaction that the node has is in its best chain."""
        path = f"/tx/{id_text(txid)}/status"
        status = self._json(path)
        if not isinstance(status, dict) or not isinstance(status.get("confirmed"), bool):
            raise self._strange(path)
        return bool(status["confirmed"])

    def broadcast(self, transaction: Transaction) -> None:
        """Hand a transaction to the network; handing in the same one again does no harm.

        A lost answer is asked for again, so that a payment is not taken for failed that is on its
        way. Raises RejectedError: the node refused it, with its reason; NodeDownError: nothing was
        sent; NodeError: it may or may not have been taken.
        """
        doubt: NodeError | None = None
        for turn in range(_TRIES):
            try:
                self._hand_in(transaction)
            except NodeDownError as error:
                if doubt is None:
                    raise
                doubt = error
            except NodeError as error:
                doubt = error
            else:
                return
            if turn < _TRIES - 1:
                time.sleep(_WAIT_S * 2**turn)
        raise NodeError(
            f"{doubt}: it is not known whether the payment {id_text(transaction.txid)} was sent; "
            "see history before paying again"
        )

    def _hand_in(self, transaction: Transaction) -> None:
        response = self._send("POST", "/tx", transaction.raw.hex())
        if response.status_code == 400:
            if self.transaction(transaction.txid) is None:
                raise RejectedError(f"the node refused the transaction: {_refusal(response)}")
            return  # it took it before
        if self._text("/tx", response) != id_text(transaction.txid):
            raise self._strange("/tx")

    def _transactions(self, path: str) -> list[SeenTransaction]:
        text = self._get(path)
        with self._parsing:
            listed = self._parsed(path, text)
            if not isinstance(listed, list):
                raise self._strange(path)
            try:
                return [_seen_transaction(entry) for entry in listed]
            except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
                raise self._strange(path) from None

    def _id(self, path: str) -> Hash32:
        text = self._get(path)
        try:
            value = bytes.fromhex(text)[::-1]
        except ValueError:
            raise self._strange(path) from None
        if len(value) != 32:
            raise self._strange(path)
        return Hash32(value)

    def _json(self, path: str) -> object:
        text = self._get(path)
        with self._parsing:
            return self._parsed(path, text)

    def _parsed(self, path: str, text: str) -> object:
        if text.count("[") + text.count("{") > _CONTAINERS_MAX or text.count(",") > _VALUES_MAX:
            raise self._strange(path)
        try:
            found: object = json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
        except (ValueError, InvalidOperation, RecursionError):
            raise self._strange(path) from None
        return found

    def _get(self, path: str) -> str:
        return self._text(path, self._ask(path))

    def _ask(self, path: str) -> httpx.Response:
        for turn in range(_TRIES - 1):
            try:
                response = self._send("GET", path)
                if response.status_code not in _BUSY:
                    return response
            except _BrokenOffError:
                pass  # a connection kept open that the server closed; the next try opens another
            time.sleep(_WAIT_S * 2**turn)
        return self._send("GET", path)

    def _text(self, path: str, response: httpx.Response) -> str:
        if response.status_code != 200:
            detail = _error_text(response)
            hint = "" if self.url.endswith("/api") else f" (did you mean {self.url}/api?)"
            raise NodeError(f"the node answers {response.status_code} to {path}: {detail}{hint}")
        try:
            return response.content.decode()
        except UnicodeDecodeError:
            raise self._strange(path) from None

    def _send(self, method: str, path: str, body: str | None = None) -> httpx.Response:
        """Return the reply, its body read up to the limit.

        Raises NodeDownError: no connection; NodeError: broken off, too slow, or too long.
        """
        try:
            with self._client.stream(method, self.url + path, content=body) as response:
                content = _read_bounded(response, path)
            self._received_bytes += len(content)
            if self._received_bytes > _RECEIVED_BYTES_MAX:
                raise NodeError(f"the node at {self.url} sent over {_RECEIVED_BYTES_MAX} bytes")
            return httpx.Response(response.status_code, content=content)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol):
            raise NodeDownError(f"cannot reach a node at {self.url}") from None
        except (httpx.InvalidURL, UnicodeError):  # the latter of a name that cannot be looked up
            raise NodeDownError(f"not the address of a node: {printable(self.url)}") from None
        except httpx.TimeoutException:
            raise NodeError(f"the node at {self.url} took too long ({path})") from None
        except httpx.HTTPError:
            raise _BrokenOffError(f"the node at {self.url} broke off ({path})") from None

    def _strange(self, path: str) -> NodeError:
        return NodeError(f"the node's answer to {path} is not what an Esplora server gives")


class _BrokenOffError(NodeError):
    """The connection ended within an exchange: asking again is worth a try."""


def _read_bounded(response: httpx.Response, path: str) -> bytes:
    deadline = time.monotonic() + _REPLY_S_MAX
    parts, size = [], 0
    for part in response.iter_raw():
        parts.append(part)
        size += len(part)
        if size > _REPLY_BYTES_MAX:
            raise NodeError(f"the node's answer to {path} is too long")
        if time.monotonic() > deadline:
            raise NodeError(f"the node's answer to {path} takes too long")
    return b"".join(parts)


def _seen_transaction(entry: Mapping[str, Any]) -> SeenTransaction:
    """Rebuild a transaction. Raises ValueError and kin: it is none, or it has another id."""
    inputs = [_input(vin) for vin in entry["vin"]]
    outputs = [
        TxOut(Amount(_whole(vout["value"])), bytes.fromhex(vout["scriptpubkey"]))
        for vout in entry["vout"]
    ]
    if any(out.value < 0 for out in outputs):
        raise ValueError("an output is worth less than nothing")
    version, lock_time = _whole(entry["version"]) & 0xFFFFFFFF, _whole(entry["locktime"])
    transaction = Transaction(version, inputs, outputs, lock_time)
    if id_text(transaction.txid) != entry["txid"]:
        raise ValueError("the transaction has another id than it claims")
    status = entry["status"]
    if not status["confirmed"]:
        return SeenTransaction(transaction, None, None)
    height, block_time = _whole(status["block_height"]), _whole(status["block_time"])
    if not (0 <= height <= _NUMBER_MAX and 0 <= block_time <= _NUMBER_MAX):
        raise ValueError("a block has no such height or time")
    return SeenTransaction(transaction, Height(height), block_time)


def _input(vin: Mapping[str, Any]) -> TxIn:
    txid = Hash32(bytes.fromhex(vin["txid"])[::-1])
    if len(txid) != 32:
        raise ValueError("an id has 32 bytes")
    witness = tuple(bytes.fromhex(item) for item in vin.get("witness", ()))
    script_sig = bytes.fromhex(vin["scriptsig"])
    return TxIn(outpoint(txid, _whole(vin["vout"])), script_sig, _whole(vin["sequence"]), witness)


def _height(each: SeenTransaction) -> int:
    return -1 if each.height is None else each.height


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("a whole number is expected")
    return value


def _checked_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url} is no node's address: write it as http://HOST:PORT/api")
    try:
        return dial_url(url).rstrip("/")
    except ValueError as error:
        raise InputError(
            f"{printable(url)} is no node's address: {printable(str(error))}"
        ) from None


def _error_text(response: httpx.Response) -> str:
    text = response.content[: 4 * _ERROR_CHARACTERS_MAX].decode(errors="replace")
    return printable(text, _ERROR_CHARACTERS_MAX) or "no reason given"


def _refusal(response: httpx.Response) -> str:
    """Return the node's reason, out of the RPC error that servers wrap it in."""
    text = _error_text(response)
    wrapped = _RPC_MESSAGE.search(text)
    return wrapped[1] if wrapped else text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
