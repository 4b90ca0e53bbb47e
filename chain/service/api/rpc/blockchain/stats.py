"""JSON-RPC: statistics of a block, of the chain, and of all coins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.subsidy import block_subsidy
from chain.primitives.encoding import compact_size
from chain.primitives.numbers import id_text
from chain.primitives.script import is_unspendable
from chain.primitives.transaction import WITNESS_SCALE, Transaction, TxOut
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import CoinValue, Json
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import hash_argument
from chain.service.api.snapshot import NodeSnapshot

_COIN_OVERHEAD_BYTES: Final = 41  # Bitcoin: PER_UTXO_OVERHEAD
_PERCENTILES: Final = (10, 25, 50, 75, 90)
_MONTH_S: Final = 30 * 24 * 3600


def getblockstats(
    snapshot: NodeSnapshot, hash_or_height: str | int, stats: list[str] | None = None
) -> Json:
    """Return statistics of a block of the best chain; amounts in grains, fee rates per vbyte."""
    entry = _chosen(snapshot, hash_or_height)
    page = snapshot.transactions(entry, 0, snapshot.facts(entry).tx_count)
    subsidy = block_subsidy(entry.height, snapshot.api.params)
    shape = {
        "blockhash": id_text(entry.id),
        "height": entry.height,
        "time": entry.header.time,
        "mediantime": entry.median_time_past,
        "subsidy": subsidy,
        "txs": len(page),
        **_payment_figures([_Paid(tx, coins) for tx, coins in page[1:]]),
        **_coin_figures(page, is_genesis=entry.parent is None),
    }
    if not stats:
        return dict(sorted(shape.items()))
    unknown = [name for name in stats if name not in shape]
    if unknown:
        problem = f"Invalid selected statistic '{unknown[0][:64]}'"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    return {name: shape[name] for name in stats}


def gettxoutsetinfo(
    snapshot: NodeSnapshot,
    hash_type: str = "none",
    hash_or_height: str | int | None = None,
    *,
    use_index: bool = True,  # noqa: ARG001 - there is no such index
) -> Json:
    """Return counts and sums of all current coins, without Core's hash of them.

    Other heights would need an index that groat does not have, so `use_index` has no effect.
    """
    if hash_type != "none":
        problem = f"'{hash_type[:64]}' is not a valid hash_type: only none is known here"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    if hash_or_height is not None:
        problem = "Querying specific block heights requires coinstatsindex"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    totals = snapshot.ledger.coin_totals()
    return {
        "height": snapshot.tip.height,
        "bestblock": id_text(snapshot.tip.id),
        "txouts": totals.count,
        "bogosize": 50 * totals.count + totals.script_bytes,
        "total_amount": CoinValue(totals.value),
        "disk_size": snapshot.disk_bytes(),
    }


def getchaintxstats(
    snapshot: NodeSnapshot, nblocks: int | None = None, blockhash: str | None = None
) -> Json:
    """Return the number of transactions up to a block of the best chain, and their rate."""
    last = snapshot.tip if blockhash is None else _chosen(snapshot, blockhash, "blockhash")
    spacing_s = snapshot.api.params.spacing_s
    count = max(min(_MONTH_S // spacing_s, last.height - 1), 0) if nblocks is None else nblocks
    if count < 0 or (count > 0 and count >= last.height):
        problem = "Invalid block count: should be between 0 and the block's height - 1"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    shape = {
        "time": last.header.time,
        "txcount": 1 + snapshot.ledger.transaction_count(0, last.height),  # genesis has no row
        "window_final_block_hash": id_text(last.id),
        "window_final_block_height": last.height,
        "window_block_count": count,
    }
    if count:
        first = last.ancestor(last.height - count)
        took_s = last.median_time_past - first.median_time_past
        within = snapshot.ledger.transaction_count(first.height + 1, last.height)
        shape |= {"window_interval": took_s, "window_tx_count": within}
        if took_s > 0:
            shape["txrate"] = within / took_s
    return shape


def _chosen(
    snapshot: NodeSnapshot, hash_or_height: str | int, name: str = "hash_or_height"
) -> BlockTreeEntry:
    if isinstance(hash_or_height, int):
        entry = snapshot.best(hash_or_height)
        if entry is None:
            problem = (
                f"Target block height {hash_or_height} after current tip {snapshot.tip.height}"
            )
            if hash_or_height < 0:
                problem = f"Target block height {hash_or_height} is negative"
            raise RpcError(Code.INVALID_PARAMETER, problem)
        return entry
    entry = snapshot.entry(hash_argument(hash_or_height, name))
    if entry is None:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Block not found")
    if not snapshot.is_best(entry):
        problem = f"Block is not in chain {snapshot.api.params.name}"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    return entry


@dataclass(frozen=True, slots=True)
class _Paid:
    """A transaction other than the coinbase, and the coins that it spent."""

    tx: Transaction
    coins: tuple[Coin, ...]

    @property
    def fee(self) -> int:
        return sum(coin.value for coin in self.coins) - self.tx.output_value

    @property
    def rate(self) -> int:
        return self.fee * WITNESS_SCALE // self.tx.weight


def _payment_figures(paid: Sequence[_Paid]) -> dict[str, Json]:
    """Return statistics of all transactions except the coinbase."""
    fees, rates = [one.fee for one in paid], [one.rate for one in paid]
    sizes = [len(one.tx.raw) for one in paid]
    weight = sum(one.tx.weight for one in paid)
    segwit = [one.tx for one in paid if one.tx.has_witness]
    count = len(paid) or 1
    return {
        "avgfee": sum(fees) // count,
        "avgfeerate": sum(fees) * WITNESS_SCALE // weight if weight else 0,
        "avgtxsize": sum(sizes) // count,
        "feerate_percentiles": _percentiles([(one.rate, one.tx.weight) for one in paid], weight),
        "maxfee": max(fees, default=0),
        "maxfeerate": max(rates, default=0),
        "maxtxsize": max(sizes, default=0),
        "medianfee": _median(fees),
        "mediantxsize": _median(sizes),
        "minfee": min(fees, default=0),
        "minfeerate": min(rates, default=0),
        "mintxsize": min(sizes, default=0),
        "swtotal_size": sum(len(tx.raw) for tx in segwit),
        "swtotal_weight": sum(tx.weight for tx in segwit),
        "swtxs": len(segwit),
        "total_out": sum(one.tx.output_value for one in paid),
        "total_size": sum(sizes),
        "total_weight": weight,
        "totalfee": sum(fees),
    }


def _coin_figures(
    page: Sequence[tuple[Transaction, tuple[Coin, ...]]], *, is_genesis: bool
) -> dict[str, Json]:
    """Return the block's change of the UTXO set; "actual" is without unspendable outputs."""
    outputs = [out for tx, _ in page for out in tx.outputs]
    spendable = [] if is_genesis else [out for out in outputs if not is_unspendable(out.script)]
    spent = [coin for _, coins in page[1:] for coin in coins]
    spent_bytes = sum(_coin_bytes(coin) for coin in spent)
    return {
        "ins": len(spent),
        "outs": len(outputs),
        "utxo_increase": len(outputs) - len(spent),
        "utxo_increase_actual": len(spendable) - len(spent),
        "utxo_size_inc": sum(map(_coin_bytes, outputs)) - spent_bytes,
        "utxo_size_inc_actual": sum(map(_coin_bytes, spendable)) - spent_bytes,
    }


def _coin_bytes(out: TxOut | Coin) -> int:
    size = len(out.script)
    return 8 + len(compact_size(size)) + size + _COIN_OVERHEAD_BYTES


def _median(values: Sequence[int]) -> int:
    """Return the median; of an even number, the mean of the middle two, rounded down."""
    if not values:
        return 0
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


def _percentiles(rates: Sequence[tuple[int, int]], total: int) -> list[int]:
    """Return the fee rates at 10, 25, 50, 75 and 90 % of the weight, lowest first."""
    found: list[int] = []
    below = rate = 0
    for rate, weight in sorted(rates):
        below += weight
        while len(found) < len(_PERCENTILES) and below * 100 >= total * _PERCENTILES[len(found)]:
            found.append(rate)
    return found + [rate] * (len(_PERCENTILES) - len(found))


METHODS: Final = (
    Method(getblockstats, "Blockchain"),
    Method(gettxoutsetinfo, "Blockchain"),
    Method(getchaintxstats, "Blockchain"),
)
