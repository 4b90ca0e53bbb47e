"""Flags of bitcoin-cli that `groat rpc` has under another name, or another command instead."""

from typing import Any, Final

from chain.usage import Command, FlagError

_INSTEAD: Final = {
    "addrinfo": "groat rpc getnodeaddresses",
    "chain": "--network NAME",
    "datadir": "--datadir DIR",
    "generate": "groat rpc generatetoaddress N ADDRESS",
    "getinfo": "groat status",
    "help": "--help",
    "named": "--named",
    "netinfo": "groat status --peers",
    "regtest": "--network regtest",
    "rpcclienttimeout": "no flag: a call may take 900 s",
    "rpcconnect": "--api HOST:PORT",
    "rpccookiefile": "--cookie FILE",
    "rpcpassword": "--user USER, with the password on standard input",
    "rpcport": "--api HOST:PORT",
    "rpcuser": "--user USER",
    "rpcwait": "--rpc-wait",
    "rpcwaittimeout": "--rpc-wait-timeout SECONDS",
    "rpcwallet": "groat-wallet, since the node has no wallets",
    "signet": "--network test",
    "stdin": "--stdin",
    "stdinrpcpass": "--user USER, with the password on standard input",
    "stdinwalletpassphrase": "groat-wallet, since the node has no wallets",
    "testnet": "--network test",
    "testnet4": "--network test",
    "version": "groat --version",
}


class RpcCommand(Command):
    """`groat rpc`: names what stands for a flag of bitcoin-cli."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own type
        """Look for flags of bitcoin-cli before the method, and parse. Raises typer's errors."""
        for word in args:
            if not word.startswith("-"):
                break
            name = word[1:].split("=")[0]
            if name in _INSTEAD:
                raise FlagError(f"-{name} is bitcoin-cli's: use {_INSTEAD[name]}", ctx)
        return super().parse_args(ctx, args)
