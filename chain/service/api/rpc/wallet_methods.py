"""Bitcoin Core's wallet methods (wallet/rpc), and the wallet's commands that do their job.

A node holds no keys, so it has none of these methods; the error names the command to use instead.
"""

from collections.abc import Mapping
from typing import Final

_BY_COMMAND: Final = {
    "address": "getnewaddress getrawchangeaddress",
    "addresses": "getaddressesbylabel getaddressinfo getreceivedbyaddress getreceivedbylabel "
    "listaddressgroupings listlabels listreceivedbyaddress listreceivedbylabel",
    "balance": "getbalance getbalances getunconfirmedbalance",
    "bump": "bumpfee psbtbumpfee",
    "create": "createwallet importdescriptors",  # with --descriptor
    "export": "gethdkeys listdescriptors",
    "freeze": "lockunspent",
    "history": "gettransaction listsinceblock listtransactions",
    "info": "getwalletinfo",
    "label": "setlabel",
    "list": "listwalletdir listwallets",
    "password": "encryptwallet walletpassphrasechange",
    "psbt create": "fundrawtransaction walletcreatefundedpsbt",
    "psbt sign": "signrawtransactionwithwallet walletprocesspsbt",
    "rescan": "rescanblockchain",
    "restore": "restorewallet sethdseed",
    "send": "send sendall sendmany sendtoaddress settxfee",
    "show-seed": "backupwallet dumpwallet",
    "utxos": "listlockunspent listunspent",
}
_BY_NO_COMMAND: Final = (
    "abandontransaction abortrescan addmultisigaddress createwalletdescriptor dumpprivkey "
    "enumeratesigners importaddress importmulti importprivkey importprunedfunds importpubkey "
    "importwallet keypoolrefill loadwallet migratewallet newkeypool removeprunedfunds "
    "setwalletflag signmessage simulaterawtransaction unloadwallet upgradewallet "
    "walletdisplayaddress walletlock walletpassphrase"
)
WALLET_COMMANDS: Final[Mapping[str, str | None]] = {  # None: no command does it
    method: command for command, methods in _BY_COMMAND.items() for method in methods.split()
} | dict.fromkeys(_BY_NO_COMMAND.split())


def not_found(method: str) -> str:
    """Return the text of the error for a method that a node lacks."""
    if method not in WALLET_COMMANDS:
        return "Method not found"
    command = WALLET_COMMANDS[method]
    instead = f"use groat-wallet {command}" if command else "groat-wallet has no command for it"
    return f"Method not found: {method} is a wallet method, and the node holds no keys; {instead}"
