"""The `groat` command line: reads flags and calls the parts.

Each command imports its part when it runs: importing all takes a second and a half.
"""

import asyncio
import dataclasses
import json
import os
import sys
import time
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Final

import typer

from chain.cli.bench_commands import bench_app
from chain.cli.bitcoin_cli_flags import NodeCommand, RpcCommand
from chain.cli.command_flags import (
    LOG_FLAGS,
    Api,
    ApiHost,
    Database,
    Datadir,
    Debug,
    File,
    Force,
    HostPort,
    Json,
    MineCommand,
    Network,
    RpcAuth,
    Threads,
)
from chain.cli.command_output import FailedError, show_result
from chain.cli.command_output import failing as _failing
from chain.cli.command_output import show as _show
from chain.cli.network_commands import network_app
from chain.cli.result_text import (
    check_lines,
    export_lines,
    import_lines,
    is_verified,
    verified_lines,
)
from chain.cli.sample_config import SampleConfig
from chain.cli.simulate_command import simulate
from chain.errors import ShownError, UsageError
from chain.primitives.numbers import counted
from chain.settings import Settings, load_settings
from chain.standard_streams import naming_output
from chain.usage import Command, Group

_EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 failed; 2 wrong flag or setting; 3 the database has another groat's "
    "schema (serve); 130 interrupted. `groat rpc` ends with 1 if there was no answer, and after an "
    "error of the node with its code without the sign, modulo 256: -5 gives 5, -32601 gives 89."
)

app = typer.Typer(
    name="groat",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A full node of the groat network.",
    epilog=_EXIT_CODES,
)
app.add_typer(bench_app, name="bench")
app.add_typer(network_app, name="network")

_RPC_EXAMPLES: Final = (
    "Examples: groat rpc getblockchaininfo; groat rpc getblock HASH 2; "
    "groat rpc --named getblock blockhash=HASH verbosity=0; groat rpc help getblock"
)

_WARNING: Final = (
    "other users of this machine can see the password in --database: use GROAT_DATABASE, or a "
    "password file of PostgreSQL's (PGPASSFILE)"
)
_PEERS: Final = "Peers"
_MINING: Final = "Mining"


def _methods(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the methods of the running node that begin so; none while there is no node."""
    if ctx.params.get("words"):  # the method is there already
        return []
    from chain.service.rpc_command import method_names

    try:
        names = method_names(
            *_rpc_settings(**{name: ctx.params.get(name) for name in ("network", "datadir", "api")})
        )
    except ShownError:  # a wrong flag is said when the command runs
        return []
    return [name for name in names if name.startswith(incomplete)]


@app.callback(invoke_without_command=True)
def start(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Handle the flags before the command."""
    if version:
        print_version()
        raise typer.Exit


@app.command(cls=NodeCommand)
def node(  # noqa: PLR0913 - one parameter a flag
    *,
    network: Network = None,
    datadir: Datadir = None,
    database: Database = None,
    p2p: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where peers connect; port 0 picks one.",
            rich_help_panel=_PEERS,
        ),
    ] = None,
    api: Api = None,
    api_processes: Annotated[
        int | None,
        typer.Option(metavar="N", help="Processes that answer the API; 0: the node itself."),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="A peer to keep a link to; repeatable.",
            rich_help_panel=_PEERS,
        ),
    ] = None,
    seed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|IP:PORT",
            help="Where to get addresses while few are known; repeatable.",
            rich_help_panel=_PEERS,
        ),
    ] = None,
    upload_mb_per_day: Annotated[
        int | None,
        typer.Option(
            metavar="MB",
            help="Stop serving old blocks near this limit.",
            rich_help_panel=_PEERS,
        ),
    ] = None,
    mine: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Mine; rewards go to this address.", rich_help_panel=_MINING
        ),
    ] = None,
    mine_threads: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="How many threads mine; default 1.", rich_help_panel=_MINING
        ),
    ] = None,
    mine_alone: Annotated[
        bool,
        typer.Option(
            "--mine-alone",
            help="Mine without peers, also on main and test.",
            rich_help_panel=_MINING,
        ),
    ] = False,
    discovery: Annotated[
        bool | None,
        typer.Option(
            help="Find nodes on the local network; default on devnet.", rich_help_panel=_PEERS
        ),
    ] = None,
    rpc_auth: RpcAuth = None,
    api_host: ApiHost = None,
    debug: Debug = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", help="Only warnings; node.log has everything.", rich_help_panel=LOG_FLAGS
        ),
    ] = False,
    sample_config: SampleConfig = False,  # noqa: ARG001 - its callback has printed it
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="On PostgreSQL: end a node that cannot be reached."),
    ] = False,
) -> None:
    """Run a full node until SIGINT or SIGTERM."""
    settings = _settings(
        network=network,
        datadir=datadir,
        database=database,
        p2p=p2p,
        api=api,
        api_processes=api_processes,
        peer=peer or None,
        seed=seed or None,
        upload_mb_per_day=upload_mb_per_day,
        mine=mine,
        mine_threads=mine_threads,
        mine_alone=mine_alone or None,
        discovery=discovery,
        rpc_auth=rpc_auth or None,
        api_host=api_host or None,
        debug=debug or None,
        quiet=quiet or None,
    )
    from chain.service.process import run_node

    with _failing():
        asyncio.run(run_node(dataclasses.replace(settings, take_over=take_over)))


@app.command(cls=Command)
def serve(  # noqa: PLR0913 - one parameter a flag
    *,
    network: Network = None,
    datadir: Datadir = None,
    database: Database = None,
    api: Api = None,
    rpc_auth: RpcAuth = None,
    api_host: ApiHost = None,
    debug: Debug = None,
) -> None:
    """Serve the API from the database of a node, until SIGINT or SIGTERM.

    Exit codes: 0 after a signal; 1 failed; 2 wrong flag or setting; 3 the database has another
    groat's schema.
    """
    settings = _settings(
        network=network,
        datadir=datadir,
        database=database,
        api=api,
        rpc_auth=rpc_auth or None,
        api_host=api_host or None,
        debug=debug or None,
    )
    from chain.service.readers.serve import run_reader

    with _failing():
        asyncio.run(run_reader(settings))


@app.command(cls=MineCommand)
def mine(  # noqa: PLR0913
    *,
    node: Annotated[str, typer.Option(metavar="URL", help="The JSON-RPC URL of a node.")],
    address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where rewards go: an address of any kind.")
    ],
    threads: Threads = 1,
    user: Annotated[str | None, typer.Option(metavar="USER", help="The RPC user.")] = None,
    password_fd: Annotated[
        int | None, typer.Option(metavar="N", help="File descriptor with the password.")
    ] = None,
    cookie: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The node's .cookie file, for the login.")
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop after this many blocks.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Mine for another node by getblocktemplate, Bitcoin Core's too, until SIGINT or SIGTERM.

    The network is the node's: --address must be one of it. The node must answer at the start; if it
    does not later, the miner waits for it.
    """
    from chain.service.miner.miner_command import MinePlan, login_of
    from chain.service.miner.miner_command import mine as mine_for

    with _failing():
        plan = MinePlan(
            node=node,
            address=address,
            threads=threads,
            login=login_of(user, password_fd, cookie),
            blocks_max=blocks,
            as_json=as_json,
        )
        mine_for(plan)


@app.command(name="import", cls=Command)
def import_(  # noqa: PLR0913
    *,
    file: File,
    network: Network = None,
    datadir: Datadir = None,
    database: Database = None,
    verdicts: Annotated[
        bool, typer.Option("--verdicts", help="Print a JSON line per block; continue if refused.")
    ] = False,
    verify_only: Annotated[
        bool,
        typer.Option(
            "--verify-only", help="Store nothing: validate from genesis on, without indexes."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Validate and store the blocks of a file (Bitcoin Core's framing: magic, length, block)."""
    settings = _settings(network=network, datadir=datadir, database=database)
    from chain.service import offline

    with _failing():
        if verify_only and database is not None:
            raise UsageError("--verify-only stores nothing: leave out --database")
        if verdicts:
            for verdict in offline.verdicts(settings, file, verify_only=verify_only):
                with naming_output():
                    sys.stdout.write(json.dumps(verdict) + "\n")
            return
        result = offline.import_file(settings, file, verify_only=verify_only)
        show_result(result, verified_lines if verify_only else import_lines, as_json=as_json)
        if result["refused"]:
            raise FailedError(
                f"{counted(result['refused'], 'block')} refused, first {result['first_refusal']}"
            )
        if verify_only and not is_verified(result):
            raise FailedError("not every block of the file was verified, or it has none")


@app.command(cls=Command)
def export(  # noqa: PLR0913
    *,
    file: File,
    network: Network = None,
    datadir: Datadir = None,
    database: Database = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the best chain, from block 1, to a block file; a running node does no harm."""
    settings = _settings(network=network, datadir=datadir, database=database)
    from chain.service import offline

    with _failing():
        result = offline.export_file(settings, file, force=force)
        show_result(result, export_lines, as_json=as_json, to_stderr=file == "-")


@app.command(cls=Command)
def check(
    *,
    network: Network = None,
    datadir: Datadir = None,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Verify the whole ledger: replay every block, compare coins, supply and indexes."""
    settings = _settings(network=network, datadir=datadir, database=database)
    from chain.service import offline

    with _failing():
        result = offline.check(settings)
        show_result(result, check_lines, as_json=as_json)
        if result["problem_count"]:
            raise FailedError(
                f"the ledger is damaged: {counted(result['problem_count'], 'problem')}"
            )


@app.command(cls=Command)
def status(
    *,
    network: Network = None,
    datadir: Datadir = None,
    api: Annotated[str | None, HostPort] = None,
    peers: Annotated[bool, typer.Option("--peers", help="List the peers instead.")] = False,
    as_json: Json = False,
) -> None:
    """Show the status of a running node.

    Exit code 1 too if it is silent, and only a process that reads its database answers.
    """
    from chain.service.remote import (
        api_endpoint,
        fetch_peers,
        fetch_status,
        is_api_found,
        other_node_text,
        peers_table,
        readable,
        silence_of,
    )

    settings = _settings(network=network, datadir=datadir, api=api)
    is_given = api is not None or bool(os.environ.get("GROAT_API"))
    with _failing():
        endpoint = api_endpoint(settings, is_given=is_given)
        is_other = not is_api_found(settings, is_given=is_given)
        if peers:
            listed = fetch_peers(endpoint)
            if is_other:
                sys.stderr.write(f"groat: {other_node_text(endpoint)}\n")
            lines = [json.dumps(listed)] if as_json else peers_table(listed, int(time.time()))
            with naming_output():
                sys.stdout.write("\n".join(lines) + "\n")
            return
        found = fetch_status(endpoint)
        _show(found if as_json else readable(found), as_json=as_json)
        silence = silence_of(endpoint)
        if silence is not None:  # this data directory's may be the silent one
            raise FailedError(silence)
        if is_other:
            sys.stderr.write(f"groat: {other_node_text(endpoint)}\n")


@app.command(
    cls=RpcCommand, context_settings={"allow_interspersed_args": False}, epilog=_RPC_EXAMPLES
)
def rpc(  # noqa: PLR0913
    *,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="METHOD [ARGUMENT]...",
            help="As `groat rpc help` lists them.",
            autocompletion=_methods,
        ),
    ] = None,
    network: Network = None,
    datadir: Datadir = None,
    api: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT|URL", help="Default the running node's own address."),
    ] = None,
    named: Annotated[bool, typer.Option("--named", help="Arguments are NAME=VALUE.")] = False,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read more arguments from standard input, one a line.")
    ] = False,
    user: Annotated[
        str | None,
        typer.Option(metavar="USER", help="Log in with a password from standard input."),
    ] = None,
    cookie: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default the running node's .cookie.")
    ] = None,
    rpc_wait: Annotated[
        bool, typer.Option("--rpc-wait", help="Wait until the node answers, without limit.")
    ] = False,
    rpc_wait_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Wait no longer than this.")
    ] = None,
) -> None:
    """Call a JSON-RPC method of a running node, as bitcoin-cli does.

    Flags go before the method. An argument that the method takes as text is sent as it is, any
    other one is JSON. After an error of the node, the exit code is the error's without the sign,
    modulo 256, as bitcoin-cli's is (-5 gives 5, -32601 gives 89); 1 if there was no answer, 2 for a
    wrong flag.
    """
    from chain.service import rpc_command

    with _failing():
        settings, url_given = _rpc_settings(network=network, datadir=datadir, api=api)
        login = rpc_command.rpc_login(settings, user, cookie)
        found = [*(words or []), *(rpc_command.stdin_words() if stdin else [])]
        plan = rpc_command.RpcPlan(
            url=lambda: rpc_command.rpc_url(settings, url_given),
            is_found=lambda: rpc_command.is_url_found(settings, url_given),
            login=login,
            is_given=url_given is not None,
            is_named=named,
            waits=rpc_wait or rpc_wait_timeout is not None,
            wait_s_max=rpc_wait_timeout,
        )
        code = rpc_command.run(plan, found)
    raise typer.Exit(code)


app.command(cls=Command)(simulate)


@app.command(name="version", cls=Command)
def print_version(*, as_json: Json = False) -> None:
    """Print the version."""
    number = installed_version("groat")
    sys.stdout.write(json.dumps({"version": number}) + "\n" if as_json else f"groat {number}\n")


def _rpc_settings(*, api: str | None, **flags: object) -> tuple[Settings, str | None]:
    """Return the settings, and the HOST:PORT or URL that flag or environment give for the API."""
    given = api or os.environ.get("GROAT_API") or None
    is_url = given is not None and "://" in given
    return load_settings({**flags, "api": None if is_url else given}), given


def _settings(**flags: object) -> Settings:
    with _failing():
        settings = load_settings(flags)
    if "database" in flags and isinstance(settings.database, str):  # a command that opens it
        from chain.ledger.db.url import check_folder, has_password

        with _failing():
            check_folder(settings.database)
        if flags["database"] is not None and has_password(settings.database):
            sys.stderr.write(f"groat: {_WARNING}\n")
    return settings
