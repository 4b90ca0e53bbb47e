"""Flags of bitcoin-cli and bitcoind that groat has under another name, or another way instead."""

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

_INSTEAD_OF_BITCOINDS: Final = {
    "addnode": "--peer HOST:PORT",
    "bind": "--p2p HOST:PORT",
    "chain": "--network NAME",
    "conf": "--datadir DIR, in which groat.toml is",
    "connect": "--peer HOST:PORT",
    "daemon": "no flag: docs/operations/service.md has a systemd unit",
    "listen": "--p2p HOST:PORT",
    "maxuploadtarget": "--upload-mb-per-day MB",
    "port": "--p2p HOST:PORT",
    "printtoconsole": "no flag: the log is on standard error, unless --quiet",
    "prune": "no flag: a node keeps every block",
    "rpcauth": "--rpc-auth USER:SALT$HMAC",
    "rpcbind": "--api HOST:PORT",
    "rpcpassword": "--rpc-auth USER:SALT$HMAC",
    "rpcport": "--api HOST:PORT",
    "rpcuser": "--rpc-auth USER:SALT$HMAC",
    "seednode": "--seed IP:PORT",
    "server": "no flag: JSON-RPC is always served",
    "txindex": "no flag: every transaction is found by its id",
    "wallet": "groat-wallet, since the node has no wallets",
}


class NodeCommand(Command):
    """`groat node`: names what stands for a flag of bitcoind."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own type
        """Look for flags of bitcoind, and parse. Raises typer's errors."""
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        for word in args:
            flag = word.split("=")[0]
            instead = _INSTEAD_OF_BITCOINDS.get(flag.lstrip("-"))
            if instead is not None and flag.startswith("-") and flag not in own:
                raise FlagError(f"{flag} is bitcoind's: use {instead}", ctx)
        return super().parse_args(ctx, args)


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
