"""Flags of bitcoin-cli that `groat rpc` has under another name, or another command instead."""

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
        """Look for flags of bitcoin-cli, up to a --, and parse. Raises typer's errors."""
        takes_value, is_before = self._options(ctx), True  # the method
        words = iter(args)
        for word in words:
            if word == "--":
                break
            flag = word.split("=")[0]
            name = _known(flag)
            if name is not None and flag not in takes_value and (is_before or _is_no_value(flag)):
                raise FlagError(f"{flag} is bitcoin-cli's: use {_INSTEAD[name]}", ctx)
            if is_before and takes_value.get(word, False):
                next(words, None)
            is_before = is_before and word.startswith("-")
        return super().parse_args(ctx, args)

    def _options(self, ctx: Any) -> dict[str, bool]:  # noqa: ANN401 - typer's own type
        """Return groat's own flags, and whether the next word is their value."""
        return {
            name: not getattr(parameter, "is_flag", False)
            for parameter in self.get_params(ctx)
            for name in parameter.opts
            if name.startswith("-")
        }


def _known(flag: str) -> str | None:
    """Return the name of a flag of bitcoin-cli, such as regtest for -regtest or -noregtest."""
    name = flag.lstrip("-")
    found = (each for each in (name, name.removeprefix("no")) if each in _INSTEAD)
    return next(found, None) if flag.startswith("-") else None


def _is_no_value(flag: str) -> bool:
    """Return whether no argument of a method looks like this: -regtest, but not -h or --named."""
    return not flag.startswith("--") and len(flag) > len("-h")
