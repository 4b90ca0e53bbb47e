"""Bitcoin Core's wallet methods (wallet/rpc), and the wallet's commands that do their job.

A node holds no keys, so it has none of these methods; the error names the command to use instead.
"""

from typing import Final

_BY_COMMAND: Final = {
    "address": "getnewaddress getrawchangeaddress",
    "addresses": "getaddressesbylabel getaddressinfo getreceivedbyaddress getreceivedbylabel "
    "listaddressgroupings listlabels listreceivedbyaddress listreceivedbylabel",
    "balance": "getbalance getbalances getunconfirmedbalance",
    "bump": "bumpfee psbtbumpfee",
    "create": "createwallet createwalletdescriptor keypoolrefill newkeypool sethdseed",
    "export": "gethdkeys listdescriptors",
    "freeze": "listlockunspent lockunspent",
    "history": "abandontransaction gettransaction listsinceblock listtransactions",
    "info": "getwalletinfo setwalletflag upgradewallet",
    "label": "setlabel",
    "list": "listwalletdir listwallets loadwallet unloadwallet",
    "password": "encryptwallet walletlock walletpassphrase walletpassphrasechange",
    "psbt": "enumeratesigners fundrawtransaction signrawtransactionwithwallet "
    "simulaterawtransaction walletcreatefundedpsbt walletdisplayaddress walletprocesspsbt",
    "rescan": "abortrescan importprunedfunds removeprunedfunds rescanblockchain",
    "restore": "addmultisigaddress importaddress importdescriptors importmulti importprivkey "
    "importpubkey importwallet migratewallet restorewallet",
    "send": "send sendall sendmany sendtoaddress settxfee",
    "show-seed": "backupwallet dumpprivkey dumpwallet",
    "utxos": "listunspent",
    "--help": "signmessage",  # no command does it
}
WALLET_COMMANDS: Final = {
    method: command for command, methods in _BY_COMMAND.items() for method in methods.split()
}


def not_found(method: str) -> str:
    """Return the text of the error for a method that a node lacks."""
    command = WALLET_COMMANDS.get(method)
    if command is None:
        return "Method not found"
    return (
        f"Method not found: {method} is a wallet method, and the node holds no keys; "
        f"use groat-wallet {command}"
    )
