"""Methods of Bitcoin Core that a node lacks, and what does their job.

A node holds no keys, so it has none of the wallet's methods (wallet/rpc); the error names the
command of groat-wallet to use instead. The others are listed with their reasons.
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
_HISTORY: Final = "/api/address/ADDRESS/txs lists an address's transactions"
_SIGN: Final = "the node is given no keys; groat-wallet psbt sign signs"
_MESSAGES: Final = "messages are neither signed nor verified"
LACKED: Final[
    Mapping[str, str]
] = {  # Core 30's node methods, and what does their job, or why nothing
    "combinerawtransaction": "combinepsbt combines the signatures of PSBTs",
    "createmultisig": "decodescript shows the addresses of a script",
    "descriptorprocesspsbt": _SIGN,
    "dumptxoutset": "groat export writes the blocks to a file",
    "getblockfrompeer": "the node has every block",
    "getdescriptoractivity": _HISTORY,
    "importmempool": "sendrawtransaction takes one transaction",
    "joinpsbts": "createpsbt takes all inputs and outputs together",
    "loadtxoutset": "groat import reads blocks from a file",
    "pruneblockchain": "the node keeps every block",
    "scanblocks": _HISTORY,
    "signmessagewithprivkey": _MESSAGES,
    "signrawtransactionwithkey": _SIGN,
    "verifymessage": _MESSAGES,
}


def not_found(method: str) -> str:
    """Return the text of the error for a method that a node lacks."""
    if method in LACKED:
        return f"Method not found: groat has no {method}: {LACKED[method]}"
    if method not in WALLET_COMMANDS:
        return "Method not found"
    command = WALLET_COMMANDS[method]
    instead = f"use groat-wallet {command}" if command else "groat-wallet has no command for it"
    return f"Method not found: {method} is a wallet method, and the node holds no keys; {instead}"
