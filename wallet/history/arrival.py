"""The order of an account's transactions: by block, then by position in it or by arrival.

An Esplora server gives no order across addresses. The criteria, most important first: the height; a
payment comes after those that it spends from; the position in the block, or, in the mempool, the
order in which this wallet first saw them; the order of the server's lists, the only one if the
server gives no positions, and the one that a restored wallet gets.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from chain.primitives.numbers import Hash32, Height, outpoint_txid
from wallet.esplora_shapes import SeenTransaction

_POSITIONS_MAX: Final = 500  # positions requested per command, of the newest blocks

Positions = Callable[[Sequence[Hash32]], Sequence[int | None]]  # a request to the server


def arrival_order(
    seen: Iterable[SeenTransaction], numbers: Mapping[Hash32, int], positions: Positions
) -> list[SeenTransaction]:
    """Return the transactions, oldest first, unconfirmed last.

    `seen` is in the order of the server's lists, oldest first, and `numbers` count up in the order
    in which the wallet first saw what is unconfirmed. A position in the block is requested only if
    several of a block's transactions could be next.
    """
    blocks: dict[Height | None, list[SeenTransaction]] = defaultdict(list)
    for each in seen:
        blocks[each.height].append(each)
    ordered = []
    left = _POSITIONS_MAX
    unconfirmed = blocks.pop(None, [])
    for height in sorted((at for at in blocks if at is not None), reverse=True):
        block, is_certain = _sorted(blocks[height], {})
        missing = [each.transaction.txid for each in block if each.position is None]
        if not is_certain and missing and len(missing) <= left:
            left -= len(missing)
            server_positions = dict(zip(missing, positions(missing), strict=True))
            block = [replace(each, position=_position(each, server_positions)) for each in block]
        if not is_certain and all(each.position is not None for each in block):
            block.sort(key=lambda each: each.position or 0)  # no height is None here
        ordered.append(block)
    oldest_first = [each for block in reversed(ordered) for each in block]
    return oldest_first + _sorted(unconfirmed, numbers)[0]


def _position(each: SeenTransaction, server_positions: Mapping[Hash32, int | None]) -> int | None:
    return each.position if each.position is not None else server_positions[each.transaction.txid]


def _sorted(
    block: Sequence[SeenTransaction], numbers: Mapping[Hash32, int]
) -> tuple[list[SeenTransaction], bool]:
    """Return the transactions, each after those it spends from, and whether the order is unique.

    Kahn's algorithm; among the candidates, the one that the wallet saw first comes first.
    """
    unknown = max(numbers.values(), default=0) + 1
    place = {each.transaction.txid: at for at, each in enumerate(block)}
    parents = [
        {outpoint_txid(txin.outpoint) for txin in each.transaction.inputs} & place.keys()
        for each in block
    ]
    children: dict[Hash32, list[int]] = defaultdict(list)
    for at, mine in enumerate(parents):
        for parent in mine:
            children[parent].append(at)
    ready = [
        (numbers.get(block[at].transaction.txid, unknown), at)
        for at, mine in enumerate(parents)
        if not mine
    ]
    heapq.heapify(ready)
    ordered, is_certain = [], True
    while ready:
        is_certain &= len(ready) == 1
        _, at = heapq.heappop(ready)
        ordered.append(block[at])
        txid = block[at].transaction.txid
        for child in children[txid]:
            parents[child].discard(txid)
            if not parents[child]:
                number = numbers.get(block[child].transaction.txid, unknown)
                heapq.heappush(ready, (number, child))
    return ordered, is_certain
