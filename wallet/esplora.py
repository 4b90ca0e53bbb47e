"""The client of an Esplora server: bounded requests, and answers checked where possible.

Transactions are rebuilt from the server's JSON and must have the id that they claim, so amounts and
scripts cannot be forged; a server can only hide transactions.
"""

import json
import math
import re
import socket
import ssl
import threading
import time
from decimal import Decimal, InvalidOperation
from typing import Final

import httpx

from chain.consensus.genesis import genesis_block
from chain.consensus.params import NETWORKS, Params, network_identity
from chain.endpoint import dial_url
from chain.primitives.encoding import DecodeError
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Hash32, Height, id_text, parse_id
from chain.primitives.transaction import Transaction, decode_transaction
from chain.printable import printable
from wallet.errors import (
    InputError,
    NetworkError,
    NodeAwayError,
    NodeDownError,
    NodeError,
    NodeTlsError,
    RejectedError,
    UnknownOutcomeError,
)
from wallet.esplora_shapes import (
    NUMBER_MAX,
    Counts,
    SeenTransaction,
    read_counts,
    read_spenders,
    read_transaction,
)
from wallet.fees import RATE_SCALE, TARGET_MAX, FeeRate

PARALLEL_MAX: Final = 8  # requests at a time
_PAGES_MAX: Final = 40_000  # of one address; with 25 on a page a devnet miner's two months
_REPLY_BYTES_MAX: Final = 32 << 20
_RECEIVED_BYTES_MAX: Final = 1 << 30  # in one command
_CONTAINERS_MAX: Final = 1_000_000  # lists and objects in one reply: each takes 50 bytes and more
_VALUES_MAX: Final = 4_000_000
_REPLY_S_MAX: Final = 60.0  # a slower reply is abandoned
_ERROR_CHARACTERS_MAX: Final = 300
_TARGET: Final = re.compile(r"[1-9]\d{0,3}", re.ASCII)
_RPC_MESSAGE: Final = re.compile(r'"message": ?"([^"]+)"')
_TRIES: Final = 4  # while the server is busy (429, 503) or drops a kept connection
_WAIT_S: Final = 0.25  # doubles
_STATUS_PATH: Final = "/v1/status"  # of a groat node: /api/v1/status
_PROBE_S_MAX: Final = 3.0  # of the look whether a node speaks TLS
_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
_NO_ID: Final = Hash32(bytes(32))  # of the first page, which follows no transaction
_BUSY: Final = frozenset({429, 503})
_AWAY: Final = _BUSY | {502, 504}  # of a proxy, for a node that does not answer it
_UNKNOWN: Final = frozenset({400, 404})


class Esplora:
    """The client of one server; thread-safe."""

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None) -> None:
        """Take the base URL (`http://host:port/api`); `transport` replaces the network."""
        self.url = checked_url(url)
        self._parsing = threading.Lock()  # one reply at a time: parsed ones are many times larger
        self._received_bytes = 0
        self._client = httpx.Client(
            transport=transport,
            verify=self.url.startswith("https:"),  # reading all certificates is slow
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
        """Raise NetworkError unless the server's block 0 is the network's genesis.

        A network of a file must also have the name that a groat node says, and the identity, which
        covers all rules, if the node says that; other Esplora servers say neither.

        If the address is a host alone and no Esplora server is there, `url` becomes that of its
        /api, where groat and others have it.
        """
        expected = genesis_block(params).id
        try:
            found = self._genesis_id()
        except (_BrokenOffError, _BadRequestError):  # what TLS servers do with plain HTTP
            if self.url.startswith("https:") or not self._is_tls_spoken():
                raise
            https = f"https{self.url.removeprefix('http')}"
            raise NodeTlsError(f"the node at {self.url} speaks TLS: write {https}") from None
        if found != expected:
            raise NetworkError(
                f"the node at {self.url} is not of network {params.name}: "
                f"its genesis is {id_text(found)}, not {id_text(expected)}"
            )
        if params.name not in NETWORKS:  # files of several networks may have one genesis
            self._check_rules(params)

    def tip(self) -> tuple[Hash32, Height]:
        """Return the id and height of the best block."""
        tip_id = self._id("/blocks/tip/hash")
        text = self._get("/blocks/tip/height")
        if not text.isdecimal() or len(text) > 10 or int(text) > NUMBER_MAX:
            raise self._invalid_answer("/blocks/tip/height")
        return tip_id, Height(int(text))

    def block_id(self, height: Height) -> Hash32:
        """Return the id of the best chain's block at `height`."""
        return self._id(f"/block-height/{height}")

    def history(self, script: bytes, *, down_to: int = -1) -> list[SeenTransaction]:
        """Return every transaction that pays to or spends from `script`, newest first.

        Those at height `down_to` and below may be missing: the caller has them. The server chooses
        the size of a page, which may depend on its mempool: the end is the first page of the
        chain without a confirmed transaction.
        Raises NodeError: the pages do not end.
        """
        base = _script_path(script) + "/txs"
        page = self._transactions(base)
        seen = {each.transaction.txid: each for each in page}
        lasts: set[Hash32] = set()
        while page and len(lasts) < _PAGES_MAX:
            confirmed = [each for each in page if each.height is not None]
            if (confirmed and _height(confirmed[-1]) <= down_to) or not (confirmed or not lasts):
                return list(seen.values())
            last = confirmed[-1].transaction.txid if confirmed else None
            if last in lasts:
                raise NodeError(f"the node at {self.url} shows the same page without end")
            lasts.add(last or _NO_ID)
            page = self._transactions(f"{base}/chain" + (f"/{id_text(last)}" if last else ""))
            seen.update((each.transaction.txid, each) for each in page)
        if page:
            raise NodeError(f"an address has more than {_PAGES_MAX} pages of transactions")
        return list(seen.values())

    def mempool_transactions(self, script: bytes) -> list[SeenTransaction]:
        """Return the transactions of `script` in the mempool, as many as the server shows."""
        return self._transactions(_script_path(script) + "/txs/mempool")

    def counts(self, script: bytes) -> Counts | None:
        """Return the server's counts of transactions of `script`; None: it gives none."""
        path = _script_path(script)
        found = self._json_if_known(path)
        try:
            return None if found is None else read_counts(found)
        except (TypeError, ValueError):
            raise self._invalid_answer(path) from None

    def block_position(self, txid: Hash32) -> int | None:
        """Return a transaction's position in its block, from 0; None: the server gives none."""
        found = self._json_if_known(f"/tx/{id_text(txid)}/merkle-proof")
        position = found.get("pos") if isinstance(found, dict) else None
        return position if type(position) is int and 0 <= position <= NUMBER_MAX else None

    def fee_estimates(self) -> dict[int, FeeRate]:
        """Return the fee rate for each target in blocks."""
        path = "/fee-estimates"
        table = self._json(path)
        if not isinstance(table, dict):
            raise self._invalid_answer(path)
        estimates = {}
        for target, feerate in table.items():
            known = isinstance(feerate, (int, Decimal)) and 0 <= feerate < RATE_SCALE**3
            if not (known and _TARGET.fullmatch(target) and int(target) <= TARGET_MAX):
                raise self._invalid_answer(path)
            estimates[int(target)] = FeeRate(math.ceil(feerate * RATE_SCALE))
        return estimates

    def transaction(self, txid: Hash32) -> Transaction | None:
        """Return a transaction of the chain or the mempool, or None if the node lacks it."""
        path = f"/tx/{id_text(txid)}/hex"
        response = self._ask(path)
        if response.status_code in _UNKNOWN:
            return None
        try:
            found = decode_transaction(bytes.fromhex(self._text(path, response)))
        except (ValueError, DecodeError):
            raise self._invalid_answer(path) from None
        if found.txid != txid:
            raise self._invalid_answer(path)
        return found

    def spenders(self, txid: Hash32) -> list[Hash32]:
        """Return the transactions that spend a transaction's outputs; none if it cannot say."""
        path = f"/tx/{id_text(txid)}/outspends"
        found = self._json_if_known(path)
        try:
            return [] if found is None else read_spenders(found)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._invalid_answer(path) from None

    def is_confirmed(self, txid: Hash32) -> bool:
        """Return whether a transaction that the node has is in its best chain."""
        path = f"/tx/{id_text(txid)}/status"
        status = self._json(path)
        if not isinstance(status, dict) or not isinstance(status.get("confirmed"), bool):
            raise self._invalid_answer(path)
        return bool(status["confirmed"])

    def broadcast(self, transaction: Transaction) -> None:
        """Send a transaction to the network; sending the same one again does no harm.

        After a lost answer the request is repeated, so that a payment under way does not count as
        failed. Raises RejectedError: the node refused it, with its reason; NodeDownError: nothing
        was sent; UnknownOutcomeError.
        """
        doubt: NodeError | None = None
        for turn in range(_TRIES):
            try:
                self._post_transaction(transaction)
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
        raise UnknownOutcomeError(
            f"{doubt}: it is not known whether the payment {id_text(transaction.txid)} was sent; "
            "see history before paying again"
        )

    def _check_rules(self, params: Params) -> None:
        try:
            status = self._json_if_known(_STATUS_PATH)
        except NodeAwayError:
            raise
        except NodeError:  # a web page, or another status, for what another server does not know
            return
        if not isinstance(status, dict):
            return
        expected = {"network": params.name, "identity": network_identity(params).hex()}
        for what, own in expected.items():
            theirs = status.get(what)
            if isinstance(theirs, str) and theirs != own:
                raise NetworkError(
                    f"the node at {self.url} is not of network {params.name}, though their genesis "
                    f"is the same: its {what} is {printable(theirs, 64)}, not {own}"
                )

    def _is_tls_spoken(self) -> bool:
        """Return whether a TLS handshake succeeds at the node's port."""
        url = httpx.URL(self.url)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent
        try:
            with (
                socket.create_connection((url.host, url.port or 80), _PROBE_S_MAX) as plain,
                context.wrap_socket(plain),
            ):
                return True
        except (OSError, ValueError):  # the latter for a name that cannot be resolved
            return False

    def _genesis_id(self) -> Hash32:
        try:
            return self.block_id(Height(0))
        except NodeAwayError:
            raise
        except NodeError:
            if httpx.URL(self.url).path.strip("/"):
                raise
            bare, self.url = self.url, f"{self.url}/api"
            try:
                return self.block_id(Height(0))
            except NodeError as error:
                self.url = bare
                raise NodeError(f"no Esplora server at {bare} or {bare}/api: {error}") from None

    def _post_transaction(self, transaction: Transaction) -> None:
        response = self._send("POST", "/tx", transaction.raw.hex())
        if response.status_code == 400:
            if self.transaction(transaction.txid) is None:
                raise RejectedError(f"the node refused the transaction: {_refusal(response)}")
            return  # the node accepted it before
        if self._text("/tx", response) != id_text(transaction.txid):
            raise self._invalid_answer("/tx")

    def _transactions(self, path: str) -> list[SeenTransaction]:
        text = self._get(path)
        with self._parsing:
            listed = self._parsed(path, text)
            if not isinstance(listed, list):
                raise self._invalid_answer(path)
            try:
                return [read_transaction(entry) for entry in listed]
            except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
                raise self._invalid_answer(path) from None

    def _id(self, path: str) -> Hash32:
        text = self._get(path)
        try:
            return parse_id(text.strip())
        except ValueError:
            raise self._invalid_answer(path) from None

    def _json(self, path: str) -> object:
        text = self._get(path)
        with self._parsing:
            return self._parsed(path, text)

    def _json_if_known(self, path: str) -> object | None:
        """Return an answer, or None for status 404."""
        response = self._ask(path)
        if response.status_code in _UNKNOWN:
            return None
        text = self._text(path, response)
        with self._parsing:
            return self._parsed(path, text)

    def _parsed(self, path: str, text: str) -> object:
        if text.count("[") + text.count("{") > _CONTAINERS_MAX or text.count(",") > _VALUES_MAX:
            raise self._invalid_answer(path)
        try:
            found: object = json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
        except (ValueError, InvalidOperation, RecursionError):
            raise self._invalid_answer(path) from None
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
                pass  # the server closed an idle connection; the next try opens another
            time.sleep(_WAIT_S * 2**turn)
        return self._send("GET", path)

    def _text(self, path: str, response: httpx.Response) -> str:
        if response.status_code != 200:
            detail = _error_text(response)
            if response.status_code in _AWAY:
                raise NodeAwayError(
                    f"the node at {self.url} answers {response.status_code}: {detail}"
                )
            hint = "" if self.url.endswith("/api") else f" (did you mean {self.url}/api?)"
            kind = _BadRequestError if response.status_code == 400 else NodeError
            raise kind(f"the node answers {response.status_code} to {path}: {detail}{hint}")
        try:
            return response.content.decode()
        except UnicodeDecodeError:
            raise self._invalid_answer(path) from None

    def _send(self, method: str, path: str, body: str | None = None) -> httpx.Response:
        """Return the reply, its body read up to the limit.

        Raises NodeDownError: no connection; NodeAwayError: broken off or too slow; NodeError: too
        long.
        """
        try:
            with self._client.stream(method, self.url + path, content=body) as response:
                content = _read_bounded(response, path)
            self._received_bytes += len(content)
            if self._received_bytes > _RECEIVED_BYTES_MAX:
                raise NodeError(f"the node at {self.url} sent over {_RECEIVED_BYTES_MAX} bytes")
            return httpx.Response(response.status_code, content=content)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            why = _tls_failure(error, self.url)
            if why is not None:
                raise NodeTlsError(f"no secure connection to {self.url}: {why}") from None
            raise NodeDownError(f"cannot reach a node at {self.url}") from None
        except (httpx.InvalidURL, UnicodeError):  # the latter for a name that cannot be resolved
            raise NodeDownError(f"not the address of a node: {printable(self.url)}") from None
        except httpx.TimeoutException:
            raise NodeAwayError(f"the node at {self.url} took too long ({path})") from None
        except httpx.HTTPError:
            raise _BrokenOffError(
                f"the node at {self.url} closed the connection ({path})"
            ) from None

    def _invalid_answer(self, path: str) -> NodeError:
        return NodeError(f"the node's answer to {path} is not what an Esplora server gives")


class _BrokenOffError(NodeAwayError):
    """The connection ended during an exchange: a retry may help."""


class _BadRequestError(NodeError):
    """Status 400."""


def _tls_failure(error: BaseException, url: str) -> str | None:
    """Return why TLS failed, by the cause of httpx's error; None: something else failed."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {printable(cause.verify_message)}"
        if isinstance(cause, ssl.SSLError):
            http = f"http{url.removeprefix('https')}"
            return f"what listens there does not speak TLS; if it is your own node, write {http}"
        cause = cause.__cause__ or cause.__context__
    return None


def _read_bounded(response: httpx.Response, path: str) -> bytes:
    deadline = time.monotonic() + _REPLY_S_MAX
    parts, size = [], 0
    for part in response.iter_raw():
        parts.append(part)
        size += len(part)
        if size > _REPLY_BYTES_MAX:
            raise NodeError(f"the node's answer to {path} is too long")
        if time.monotonic() > deadline:
            raise NodeAwayError(f"the node's answer to {path} takes too long")
    return b"".join(parts)


def _script_path(script: bytes) -> str:
    return f"/scripthash/{sha256(script).hex()}"


def _height(each: SeenTransaction) -> int:
    return -1 if each.height is None else each.height


def checked_url(url: str) -> str:
    """Return a node's address in its usual form. Raises InputError."""
    if not url.startswith(("http://", "https://")) or "?" in url or "#" in url:
        shown = printable(url)
        raise InputError(
            f"{shown!r} is not the address of a node: write it as http://HOST:PORT/api"
        )
    try:
        return dial_url(url).rstrip("/")
    except ValueError as error:
        raise InputError(
            f"{printable(url)} is not the address of a node: {printable(str(error))}"
        ) from None


def _error_text(response: httpx.Response) -> str:
    text = response.content[: 4 * _ERROR_CHARACTERS_MAX].decode(errors="replace")
    if text.lstrip().startswith("<"):
        return "a web page"
    return printable(text, _ERROR_CHARACTERS_MAX) or "no reason given"


def _refusal(response: httpx.Response) -> str:
    """Return the node's reason, extracted from the RPC error around it."""
    text = _error_text(response)
    wrapped = _RPC_MESSAGE.search(text)
    return wrapped[1] if wrapped else text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
