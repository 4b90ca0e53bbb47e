"""A commented groat.toml, as `groat node --sample-config` prints it."""

import sys
from dataclasses import dataclass
from typing import Annotated, Final

import typer

_HEAD: Final = """\
# Settings of a groat node. Save this as groat.toml in the data directory (--datadir).
#
# Each line "#NAME = VALUE" is a setting with its default, or an example where that is said;
# remove its "#" to set it. A flag of `groat node` comes before this file, and so does an
# environment variable, as GROAT_PEER for peer. The log names this file if it was read.
"""
_EXAMPLE_AUTH: Final = f"alice:{'0123456789abcdef' * 2}${'0123456789abcdef' * 4}"


@dataclass(frozen=True, slots=True)
class SampleSetting:
    """A setting: its name, a value in TOML, and what it means."""

    name: str
    value: str
    text: str
    is_default: bool = True  # else the value is an example


SAMPLE: Final[dict[str, tuple[SampleSetting, ...]]] = {
    "The network and its files": (
        SampleSetting(
            "network", '"main"', "main, test, devnet, regtest, or the file of one of your own."
        ),
        SampleSetting(
            "database",
            '"sqlite:////srv/groat/ledger.sqlite"',
            "SQLAlchemy's URL of the ledger; by default SQLite in the data directory.",
            is_default=False,
        ),
    ),
    "Peers": (
        SampleSetting("p2p", '"0.0.0.0:9444"', "Where peers connect; port 0 picks a free one."),
        SampleSetting(
            "peer",
            '["192.0.2.7:9444", "node.example.org:9444"]',
            "Nodes to keep links to.",
            is_default=False,
        ),
        SampleSetting(
            "seed",
            '["seed.example.org", "192.0.2.8:9444"]',
            "Where to get addresses while few are known: names that stand for nodes, or nodes,\n"
            'each asked once; "none" cancels those before it and those of the network\'s file.',
            is_default=False,
        ),
        SampleSetting("discovery", "false", "Find nodes on the local network; on devnet true."),
        SampleSetting(
            "upload_mb_per_day",
            "0",
            "Near this limit old blocks are no longer given away; 0: no limit.",
        ),
    ),
    "API, JSON-RPC and explorer": (
        SampleSetting(
            "api", '"127.0.0.1:9445"', "Where they listen; by default only this machine reaches it."
        ),
        SampleSetting(
            "api_processes",
            "8",
            "Processes that answer instead of the node; the default depends on the cores.",
            is_default=False,
        ),
        SampleSetting(
            "api_host",
            '["groat.example.org"]',
            "Names by which a proxy in front of the API is reached.",
            is_default=False,
        ),
        SampleSetting(
            "rpc_auth",
            f'["{_EXAMPLE_AUTH}"]',
            "Logins besides the cookie, in the form of Bitcoin Core's rpcauth.",
            is_default=False,
        ),
    ),
    "Mining": (
        SampleSetting(
            "mine",
            '"ADDRESS"',
            "Mine, with the rewards for this address.",
            is_default=False,
        ),
        SampleSetting("mine_threads", "1", "Threads that search."),
        SampleSetting("mine_alone", "false", "Mine without peers, on main and test too."),
    ),
    "Log": (
        SampleSetting(
            "debug",
            '["net", "mempool"]',
            "Log more: http, mempool, mining, net, rpc, validation, or all.",
            is_default=False,
        ),
        SampleSetting(
            "quiet", "false", "Only warnings on standard error; node.log has everything."
        ),
    ),
}


def sample_config() -> str:
    """Return a groat.toml in which every setting is commented out."""
    lines = [_HEAD]
    for title, settings in SAMPLE.items():
        lines += [f"## {title}", ""]
        for setting in settings:
            kind = "" if setting.is_default else " For example:"
            lines += [f"# {line}" for line in f"{setting.text}{kind}".splitlines()]
            lines += [f"#{setting.name} = {setting.value}", ""]
    return "\n".join(lines)


def _print(is_wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if is_wanted:
        sys.stdout.write(sample_config())
        raise typer.Exit


SampleConfig = Annotated[
    bool,
    typer.Option(
        "--sample-config",
        callback=_print,
        is_eager=True,
        help="Print a commented groat.toml, and end.",
        rich_help_panel="Common flags",
    ),
]
