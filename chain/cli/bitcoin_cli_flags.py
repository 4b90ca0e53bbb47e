"""Flags of bitcoin-cli that `groat rpc` has under another name, or another command instead."""

from collections.abc import Iterator
from typing import Any, Final

from chain.usage import Command, FlagError

_INSTEAD: Final = {
    "addrinfo": "groat rpc getnodeaddresses",
    "chain": "--network NAME",
    "color": "no flag: groat rpc uses no colours",
    "conf": "--datadir DIR, in which groat.toml is",
    "datadir": "--datadir DIR",
    "generate": "groat rpc generatetoaddress N ADDRESS",
    "getinfo": "groat status",
    "?": "--help",
    "h": "--help",
    "help": "--help",
    "ipcconnect": "--api HOST:PORT",
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
    "signetchallenge": "--network FILE.toml",
    "signetseednode": "groat node --seed HOST:PORT",
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
        for word in self._flags_before_method(ctx, args):
            flag = word.split("=")[0]
            name = flag.lstrip("-").removeprefix("no")  # Core's -noNAME is -NAME=0
            name = name if name in _INSTEAD else flag.lstrip("-")
            if name in _INSTEAD and flag not in self._options(ctx):
                raise FlagError(f"{flag} is bitcoin-cli's: use {_INSTEAD[name]}", ctx)
        return super().parse_args(ctx, args)

    def _flags_before_method(self, ctx: Any, args: list[str]) -> Iterator[str]:  # noqa: ANN401
        """Yield the flags before the method, without the values of groat's own."""
        options, words = self._options(ctx), iter(args)
        for word in words:
            if not word.startswith("-") or word in {"-", "--"}:
                return
            yield word
            if options.get(word, False):
                next(words, None)

    def _options(self, ctx: Any) -> dict[str, bool]:  # noqa: ANN401 - typer's own type
        """Return groat's own flags, and whether the next word is their value."""
        return {
            name: not getattr(parameter, "is_flag", False)
            for parameter in self.get_params(ctx)
            for name in parameter.opts
            if name.startswith("-")
        }
