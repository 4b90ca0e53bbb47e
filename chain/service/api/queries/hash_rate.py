"""The network's hash rate."""

from chain.consensus.entry import BlockTreeEntry


def network_rate(last: BlockTreeEntry, blocks: int = 120) -> float:
    """Return the work of the last `blocks` blocks over their time (Bitcoin: GetNetworkHashPS)."""
    count = min(blocks, last.height)
    if count <= 0:
        return 0.0
    times, entry = [last.header.time], last
    first = last.ancestor(last.height - count)
    while entry is not first and entry.parent is not None:
        entry = entry.parent
        times.append(entry.header.time)
    took_s = max(times) - min(times)
    return (last.chain_work - first.chain_work) / took_s if took_s else 0.0
