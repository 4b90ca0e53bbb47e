"""A small Esplora server on 127.0.0.1 over a real chain in memory, which checks what it is given.

Blocks are made by tests/builders.py, connected by the consensus functions, and every transaction
that a wallet broadcasts passes the same checks as in a node, signatures included.
"""

import contextlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from chain.consensus.block_validation import connect_block, created_coins
from chain.consensus.coin import Coin
from chain.consensus.errors import InvalidError
from chain.consensus.params import REGTEST
from chain.consensus.spend import spend_checks, verify_checks
from chain.consensus.transaction import check_inputs, check_transaction, is_final
from chain.primitives.encoding import DecodeError
from chain.primitives.hashes import sha256
from chain.primitives.numbers import id_text, outpoint, outpoint_index, outpoint_txid
from chain.primitives.script import script_kind
from chain.primitives.transaction import decode_transaction
from tests.builders import KEY, ChainBuilder

PAGE = 25
MEMPOOL_TXS_MAX = 50
RATE_FLOOR = 1  # grain/vB, as a node's default


class RefusedError(Exception):
    """The stub's mempool does not take it."""


class RegtestChain:
    """A regtest chain with a mempool; not limited in size."""

    def __init__(self, params=REGTEST):
        self.params = params
        self.lock = threading.RLock()
        self.builder = ChainBuilder(params)
        self.coins = {}
        self.mempool = {}  # txid: transaction, in order of arrival
        self.confirmed = {}  # txid: (transaction, height, time, block id)
        self.mark = b""
        self.outputs = {}  # every output ever seen, to tell what inputs spend
        self._touched = {}  # txid: hashes of scripts
        self.estimates = {"1": 5.0, "6": 2.5, "144": 1.0}

    def mine(self, script=KEY.script, count=1):
        """Mine blocks that pay to `script` and take in the whole mempool."""
        for _ in range(count):
            with self.lock:
                parent = self.builder.tip
                transactions = list(self.mempool.values())
                fees = sum(self.fee_of(tx) for tx in transactions)
                block = self.builder.add(
                    transactions, script=script, fees=fees, extra=b"%d" % parent.height + self.mark
                )
                done = self._connect(block, parent)
                verify_checks(done.checks)
                self.mempool.clear()

    def _connect(self, block, parent):
        done = connect_block(block, parent, self.coins, self.params)
        for point in done.removed:
            del self.coins[point]
        self.coins.update(done.created)
        for tx in block.transactions:
            self.confirmed[tx.txid] = (tx, parent.height + 1, block.header.time, block.id)
            self._remember(tx)
        return done

    def fork(self, back, mark=b""):
        """Return a chain that shares all except the last `back` blocks, with an empty mempool.

        The coinbases of blocks that are mined on it hold `mark`: its blocks have other ids.
        """
        other = RegtestChain(self.params)
        other.builder = self.builder.fork(back)
        other.mark = mark
        for height, block in enumerate(other.builder.blocks):
            other._connect(block, other.builder.tip.ancestor(height))
        return other

    def conflicts(self, tx):
        """Return what a replacement throws out: those that spend its coins, and their children."""
        gone = {}
        points = {txin.outpoint for txin in tx.inputs}
        for held in self.mempool.values():
            if any(i.outpoint in points or i.outpoint[:32] in gone for i in held.inputs):
                gone[held.txid] = held
        return list(gone.values())

    def accept(self, tx):
        """Take a transaction into the mempool, or raise RefusedError."""
        with self.lock:
            if tx.txid in self.mempool or tx.txid in self.confirmed:
                raise RefusedError("txn-already-known")
            height = self.builder.tip.height + 1
            view = dict(self.coins)
            replaced = self.conflicts(tx)
            for held in (each for each in self.mempool.values() if each not in replaced):
                for txin in held.inputs:
                    view.pop(txin.outpoint, None)
                view.update(created_coins(held, height))
            try:
                check_transaction(tx, self.params)
                coins = [view.get(txin.outpoint) for txin in tx.inputs]
                fee = check_inputs(tx, coins, height, self.params)
                verify_checks(spend_checks(tx, coins))
            except InvalidError as error:
                raise RefusedError(error.reject_reason) from error
            if not is_final(tx, height, self.builder.tip.median_time_past):
                raise RefusedError("non-final")
            if fee < RATE_FLOOR * tx.vsize:
                raise RefusedError("min relay fee not met")
            if any(out.value < 294 and out.script[:1] == b"\x00" for out in tx.outputs):
                raise RefusedError("dust")
            self.replace(replaced, tx, fee)
            self.mempool[tx.txid] = tx
            self._remember(tx)

    def replace(self, replaced, tx, fee):
        """Throw out what `tx` replaces, if it pays enough for that (BIP125, rules 3 and 4)."""
        old_fee = sum(self.fee_of(each) for each in replaced)
        if replaced and fee < old_fee + RATE_FLOOR * tx.vsize:
            raise RefusedError("insufficient fee, rejecting replacement")
        for each in replaced:
            if fee * each.vsize <= self.fee_of(each) * tx.vsize:
                raise RefusedError("insufficient fee rate, rejecting replacement")
        for each in replaced:
            del self.mempool[each.txid]

    def find(self, txid):
        """Return a transaction of the chain or the mempool by its id as text, or None."""
        txid = bytes.fromhex(txid)[::-1]
        return self.mempool.get(txid) or self.confirmed.get(txid, [None])[0]

    def position(self, txid):
        """Return where in its block a transaction stands."""
        txid = bytes.fromhex(txid)[::-1]
        block_id = self.confirmed[txid][3]
        inside = [each for each, entry in self.confirmed.items() if entry[3] == block_id]
        return inside.index(txid)

    def fee_of(self, tx):
        return sum(self.outputs[i.outpoint].value for i in tx.inputs) - tx.output_value

    def spenders(self):
        """Every transaction in the chain and the mempool."""
        return [entry[0] for entry in self.confirmed.values()] + list(self.mempool.values())

    def outspends(self, tx):
        """Return what spends each output, as `/tx/TXID/outspends` says it."""
        spent_by = {txin.outpoint: each for each in self.spenders() for txin in each.inputs}
        found = [spent_by.get(outpoint(tx.txid, index)) for index in range(len(tx.outputs))]
        return [{"spent": bool(each), "txid": each and id_text(each.txid)} for each in found]

    def touching(self, script_hash):
        """Return (unconfirmed, confirmed newest first) transactions of a script's SHA-256."""

        done = [entry[0] for entry in reversed(self.confirmed.values())]
        return tuple(
            [tx for tx in each if script_hash in self._touched_by(tx)]
            for each in (reversed(self.mempool.values()), done)
        )

    def _touched_by(self, tx):
        """Return the SHA-256 of each script that a transaction pays to or spends from."""
        if tx.txid not in self._touched:
            scripts = [out.script for out in tx.outputs]
            scripts += [self.outputs[i.outpoint].script for i in tx.inputs if not tx.is_coinbase]
            self._touched[tx.txid] = {sha256(script) for script in scripts}
        return self._touched[tx.txid]

    def tx_json(self, tx):
        entry = self.confirmed.get(tx.txid)
        status = {"confirmed": False}
        if entry is not None:
            _, height, time, block_id = entry
            status = {
                "confirmed": True,
                "block_height": height,
                "block_time": time,
                "block_hash": id_text(block_id),
            }
        return {
            "txid": id_text(tx.txid),
            "version": tx.version,
            "locktime": tx.lock_time,
            "size": len(tx.raw),
            "weight": tx.weight,
            "fee": 0 if tx.is_coinbase else self.fee_of(tx),
            "vin": [self._vin_json(tx, txin) for txin in tx.inputs],
            "vout": [_vout_json(out) for out in tx.outputs],
            "status": status,
        }

    def _vin_json(self, tx, txin):
        entry = {
            "txid": id_text(outpoint_txid(txin.outpoint)),
            "vout": outpoint_index(txin.outpoint),
            "prevout": None if tx.is_coinbase else _vout_json(self.outputs[txin.outpoint]),
            "scriptsig": txin.script_sig.hex(),
            "scriptsig_asm": "",
            "is_coinbase": tx.is_coinbase,
            "sequence": txin.sequence,
        }
        if txin.witness:
            entry["witness"] = [item.hex() for item in txin.witness]
        return entry

    def _remember(self, tx):
        for point, coin in created_coins(tx, 0):
            self.outputs[point] = coin


def _vout_json(out: Coin):
    return {
        "value": out.value,
        "scriptpubkey": out.script.hex(),
        "scriptpubkey_asm": "",
        "scriptpubkey_type": str(script_kind(out.script)),
    }


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Say nothing of a client that was killed in the middle of its request."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Stub:
    """The server; `requests` lists what was asked, `override` maps a path to (status, bytes).

    `page` is how many transactions a page holds. With `has_shared_budget`, `/txs` spends that on
    mempool and chain together, as mempool/electrs does. `lacks` names what it does not have;
    "root" is Esplora outside /api. For
    what reaches it without a socket, nothing listens if it `is_away`.
    """

    def __init__(self, chain):
        self.chain = chain
        self.page = PAGE
        self.has_shared_budget = False
        self.lacks = set()
        self.is_away = False
        self.requests = []
        self.override = {}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                stub.requests.append(("GET", self.path, dict(self.headers)))
                self.answer(*stub.get(self.path))

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                stub.requests.append(("POST", self.path, dict(self.headers)))
                self.answer(*stub.post(self.path, body))

            def answer(self, status, content):
                with contextlib.suppress(ConnectionError):  # a client that was killed
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/api"

    def respond(self, request):
        """Answer a request of httpx that came without a socket."""
        path = request.url.raw_path.decode()
        self.requests.append((request.method, path, dict(request.headers)))
        is_get = request.method == "GET"
        status, content = self.get(path) if is_get else self.post(path, request.read())
        return httpx.Response(status, stream=httpx.ByteStream(content))

    def get(self, path):
        if path in self.override:
            return self.override[path]
        if "root" in self.lacks and not path.startswith("/api/"):
            return 404, b"<!doctype html>" + b"<p>no such page</p>" * 50
        with self.chain.lock:
            found = self._find(path.removeprefix("/api").strip("/").split("/"))
        if found is None:
            return 404, b"not found"
        return 200, found.encode() if isinstance(found, str) else json.dumps(found).encode()

    def post(self, path, body):
        if path in self.override:
            return self.override[path]
        try:
            tx = decode_transaction(bytes.fromhex(body.decode()))
            self.chain.accept(tx)
        except (ValueError, DecodeError, RefusedError) as error:
            text = f'sendrawtransaction RPC error: {{"code":-26,"message":"{error}"}}'
            return 400, text.encode()
        return 200, id_text(tx.txid).encode()

    def _find(self, words):  # noqa: C901, PLR0911 - one line an endpoint
        chain = self.chain
        tip = chain.builder.tip
        match words:
            case ["block-height", height] if int(height) <= tip.height:
                return id_text(tip.ancestor(int(height)).id)
            case ["blocks", "tip", "height"]:
                return str(tip.height)
            case ["blocks", "tip", "hash"]:
                return id_text(tip.id)
            case ["fee-estimates"]:
                return chain.estimates
            case ["scripthash", script_hash] if "counts" not in self.lacks:
                pending, done = chain.touching(bytes.fromhex(script_hash))
                counts = {"chain_stats": len(done), "mempool_stats": len(pending)}
                return {name: {"tx_count": count} for name, count in counts.items()}
            case ["scripthash", script_hash, "txs"]:
                pending, done = chain.touching(bytes.fromhex(script_hash))
                shown = pending[: self.page if self.has_shared_budget else MEMPOOL_TXS_MAX]
                left = self.page - (len(shown) if self.has_shared_budget else 0)
                return [chain.tx_json(tx) for tx in shown + done[:left]]
            case ["scripthash", script_hash, "txs", "mempool"]:
                pending, _ = chain.touching(bytes.fromhex(script_hash))
                return [chain.tx_json(tx) for tx in pending[:MEMPOOL_TXS_MAX]]
            case ["scripthash", script_hash, "txs", "chain", *last]:
                done = chain.touching(bytes.fromhex(script_hash))[1]
                ids = [id_text(tx.txid) for tx in done]
                start = ids.index(last[0]) + 1 if last and last[0] in ids else len(ids)
                start = start if last else 0
                return [chain.tx_json(tx) for tx in done[start : start + self.page]]
            case ["tx", txid, "merkle-proof"] if "positions" not in self.lacks:
                found = chain.confirmed.get(bytes.fromhex(txid)[::-1])
                return None if found is None else {"pos": chain.position(txid), "merkle": []}
            case ["tx", txid, "hex"] if tx := chain.find(txid):
                return tx.raw.hex()
            case ["tx", txid, "outspends"] if tx := chain.find(txid):
                return chain.outspends(tx) if "outspends" not in self.lacks else None
            case ["tx", txid, "status"] if tx := chain.find(txid):
                return chain.tx_json(tx)["status"]
        return None


@contextlib.contextmanager
def serving(chain):
    """Run a stub over `chain` for as long as the context lasts."""
    stub = Stub(chain)
    thread = threading.Thread(target=stub.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stub
    finally:
        stub.server.shutdown()
        thread.join()
        stub.server.server_close()
