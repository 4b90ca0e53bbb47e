"""The results of import, check and simulate in words; `--json` has the same values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from chain.primitives.numbers import coins_text, counted
from chain.printable import printable

_COLUMN: Final = 18  # of the names in a table
Values = Mapping[str, Any]


def import_lines(result: Values) -> Iterator[str]:
    """Return what an import did; the error that follows names refused blocks."""
    blocks, transactions = result["blocks"], result["transactions"]
    is_complete = not result["refused"] and not result["waiting"]
    if blocks:
        count = counted(transactions, "transaction")
        yield f"imported {counted(blocks, 'block')}, {count}, {_took(result)}"
    elif is_complete:
        yield "nothing imported: the file has no block that the ledger lacks"
    else:
        yield "nothing imported: the file has no new block that is valid"
    if result["waiting"]:
        yield f"left out {counted(result['waiting'], 'block')}, whose parents are missing"
    yield _row("height", f"{result['height']:,}")
    yield _row("tip", result["tip"])
    if blocks and is_complete:
        yield "every block of the file is in the ledger"


def is_verified(result: Values) -> bool:
    """Return whether a file has blocks, and all were found valid."""
    left_out = result["refused"] or result["waiting"] or result["unverified"]
    return bool(result["blocks"]) and not left_out


def verified_lines(result: Values) -> Iterator[str]:
    """Return what a verification found; the error that follows names refused blocks."""
    yield f"verified {counted(result['blocks'], 'block')} of the best chain, {_took(result)}"
    if result["unverified"]:
        count = counted(result["unverified"], "block")
        yield f"not verified: {count} off the best chain, or built on a refused block"
    if result["waiting"]:
        count = counted(result["waiting"], "block")
        why = "" if result["refused"] else "; the file must have all blocks from block 1 on"
        yield f"not verified: {count} whose parents are missing{why}"
    yield _row("height", f"{result['height']:,}")
    yield _row("tip", result["tip"])
    if is_verified(result):
        yield "every block of the file is valid; nothing was stored"


def _took(result: Values) -> str:
    rate = f"{result['transactions_per_second']:,.0f} transactions/s"
    return f"in {result['seconds']:,.1f} s ({rate})"


def export_lines(result: Values) -> Iterator[str]:
    """Return what an export wrote."""
    yield f"exported {counted(result['blocks'], 'block')}"
    yield _row("height", f"{result['height']:,}")
    yield _row("tip", result["tip"])


def check_lines(result: Values) -> Iterator[str]:
    """Return what a check found, the verdict last."""
    blocks = counted(result["blocks"], "block")
    yield f"replayed {blocks}, {counted(result['transactions'], 'transaction')}"
    yield _row("height", f"{result['height']:,}")
    yield _row("coins", f"{result['coins']:,}")
    yield _row("supply", f"{coins_text(result['supply_grains'], ',')} GROAT")
    count = result["problem_count"]
    if not count:
        yield "the ledger is sound"
        return
    shown = result["problems"]
    yield from (f"problem: {printable(problem)}" for problem in shown)
    if count > len(shown):
        yield f"and {count - len(shown):,} more"


def simulation_lines(report: Values) -> Iterator[str]:
    """Return a simulation's figures, the verdict last."""
    blocks = counted(report["blocks"], "block")
    each = counted(report["transactions_per_block"], "transaction")
    delays = (f"{name} {report[f'block_{name}_ms']:,.0f} ms" for name in ("p50", "p90", "p99"))
    yield _row("network", f"{counted(report['nodes'], 'node')}, seed {report['seed']}")
    yield _row("mined", f"{blocks} of {each}, {report['stale_blocks']} stale")
    yield _row("delay of a block", ", ".join(delays))
    yield _row("reached", f"{report['coverage']:.1%} of the nodes")
    yield _row("traffic", f"{report['bytes_per_node_per_block'] / 1000:,.1f} kB a node and block")
    yield _row("rebuilt at once", f"{report['rebuilt_at_once']:.1%} of compact blocks")
    yield _row("stale rate", f"{report['stale_rate']:.2%}, computed from the delays")
    yield _row("events", f"{report['events']:,}, {report['events_per_second']:,.0f} a second")
    yield _row("trace", report["trace"])
    agree = "all nodes are on one chain" if report["converged"] else "the nodes do not agree"
    yield f"{agree} at the end"


def scenario_lines(outcome: Values) -> Iterator[str]:
    """Return one scenario's verdict, its broken requirements and its figures."""
    size = f"{counted(outcome['nodes'], 'node')}, {counted(outcome['blocks'], 'block')}"
    verdict = "holds" if outcome["holds"] else "FAILED"
    yield f"{outcome['scenario']}: {verdict} ({size}, seed {outcome['seed']})"
    yield from (f"  broken: {requirement}" for requirement in outcome["broken"])
    width = max(map(len, outcome["figures"]), default=0)
    for name, value in outcome["figures"].items():
        shown = f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
        yield f"  {name:{width}}  {shown}"


def scenarios_verdict(names: Sequence[str], failed: Sequence[str]) -> str:
    """Return the last line of several scenarios."""
    if not failed:
        return "the scenario holds" if len(names) == 1 else f"all {len(names)} runs hold"
    return f"{len(failed)} of {counted(len(names), 'run')} failed: {', '.join(failed)}"


def _row(name: str, text: str) -> str:
    return f"{name:{_COLUMN}}{text}"
