"""The arguments of Bitcoin Core 30's node methods, and of groat's additional ones.

One line a method (what is indented belongs to the line before): its name, then each argument in
order as `NAME|ALIAS:TYPES`, followed by nothing (required), by `?` (optional) or by `=DEFAULT` in
JSON. TYPES are JSON's, or
    strings     an array of strings
    amount      AMOUNT, in coins: a number or a string
    any         any JSON value
and with a comma between them where Core takes several (its skip_type_check, or RANGE): a wrong one
is then told without its position. `~` behind an argument: of a later Core, and may be missing here.

The lines agree with the help of Bitcoin Core 30.0.0 in names, order, types, defaults and what is
required; the methods that its help hides (addconnection, addpeeraddress, echo, echoipc, echojson,
estimaterawfee, generateblock, generatetoaddress, generatetodescriptor, getorphantxs, getrawaddrman,
invalidateblock, mockscheduler, reconsiderblock, sendmsgtopeer, setmocktime,
syncwithvalidationinterfacequeue), aliases, and `wait` of stop are from its sources. A default that
the help describes in words ("chain tip") is `?` here.

A method of groat without a line fails test_rpc_arguments.py. Lines below "absent" are of methods
that groat need not have; those that it does have are checked like all others.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

PRESENT: Final = """
addnode node:string command:string v2transport:bool?
clearbanned
createrawtransaction inputs:array outputs:array,object locktime:number=0 replaceable:bool=true
    version:number=2
decoderawtransaction hexstring:string iswitness:bool?
disconnectnode address:string? nodeid:number?
estimatesmartfee conf_target:number estimate_mode:string="economical"
generateblock output:string transactions:strings submit:bool=true
generatetoaddress nblocks:number address:string maxtries:number=1000000
generatetodescriptor num_blocks:number descriptor:string maxtries:number=1000000
getaddednodeinfo node:string?
getbestblockhash
getblock blockhash:string verbosity|verbose:number,bool=1
getblockchaininfo
getblockcount
getblockhash height:number
getblockheader blockhash:string verbose:bool=true
getblockstats hash_or_height:string,number stats:strings?
getblocktemplate template_request:object
getchaintips
getchaintxstats nblocks:number? blockhash:string?
getconnectioncount
getdifficulty
getindexinfo index_name:string?
getmempoolancestors txid:string verbose:bool=false
getmempooldescendants txid:string verbose:bool=false
getmempoolentry txid:string
getmempoolinfo
getmininginfo
getnettotals
getnetworkhashps nblocks:number=120 height:number=-1
getnetworkinfo
getpeerinfo
getprioritisedtransactions
getrawmempool verbose:bool=false mempool_sequence:bool=false
getrawtransaction txid:string verbosity|verbose:number,bool=0 blockhash:string?
getrpcinfo
gettxout txid:string n:number include_mempool:bool=true
gettxoutproof txids:strings blockhash:string?
gettxoutsetinfo hash_type:string="hash_serialized_3" hash_or_height:string,number?
    use_index:bool=true
gettxspendingprevout outputs:array options:object?~
help command:string?
invalidateblock blockhash:string
listbanned
logging include:strings? exclude:strings?
preciousblock blockhash:string
prioritisetransaction txid:string dummy:number? fee_delta:number
reconsiderblock blockhash:string
scantxoutset action:string scanobjects:array?
sendrawtransaction hexstring:string maxfeerate:amount=0.10 maxburnamount:amount=0.00
setban subnet:string command:string bantime:number=0 absolute:bool=false
setmocktime timestamp:number
stop wait:number?
submitblock hexdata:string dummy:string?
submitheader hexdata:string
submitpackage package:strings maxfeerate:amount=0.10 maxburnamount:amount=0.00
testmempoolaccept rawtxs:strings maxfeerate:amount=0.10
uptime
validateaddress address:string
verifytxoutproof proof:string
"""

ABSENT: Final = """
addconnection address:string connection_type:string v2transport:bool
addpeeraddress address:string port:number tried:bool=false
analyzepsbt psbt:string
combinepsbt txs:strings
combinerawtransaction txs:strings
converttopsbt hexstring:string permitsigdata:bool=false iswitness:bool?
createmultisig nrequired:number keys:strings address_type:string="legacy"
createpsbt inputs:array outputs:array,object locktime:number=0 replaceable:bool=true
    version:number=2
decodepsbt psbt:string
decodescript hexstring:string
deriveaddresses descriptor:string range:number,array?
descriptorprocesspsbt psbt:string descriptors:array sighashtype:string?
    bip32derivs:bool=true finalize:bool=true
dumptxoutset path:string type:string="" options:object?
echo arg0:any? arg1:any? arg2:any? arg3:any? arg4:any? arg5:any? arg6:any? arg7:any? arg8:any?
    arg9:any?
echoipc arg:string
echojson arg0:any? arg1:any? arg2:any? arg3:any? arg4:any? arg5:any? arg6:any? arg7:any? arg8:any?
    arg9:any?
enumeratesigners
estimaterawfee conf_target:number threshold:number=0.95
finalizepsbt psbt:string extract:bool=true
getaddrmaninfo
getblockfilter blockhash:string filtertype:string="basic"
getblockfrompeer blockhash:string peer_id:number
getchainstates
getdeploymentinfo blockhash:string?
getdescriptoractivity blockhashes:array scanobjects:array include_mempool:bool=true
getdescriptorinfo descriptor:string
getmemoryinfo mode:string="stats"
getnodeaddresses count:number=1 network:string?
getorphantxs verbosity:number=0
getrawaddrman
getzmqnotifications
importmempool filepath:string options:object?
joinpsbts txs:strings
loadtxoutset path:string
mockscheduler delta_time:number
ping
pruneblockchain height:number
savemempool
scanblocks action:string scanobjects:array? start_height:number=0 stop_height:number?
    filtertype:string="basic" options:object?
sendmsgtopeer peer_id:number msg_type:string msg:string
setnetworkactive state:bool
signmessagewithprivkey privkey:string message:string
signrawtransactionwithkey hexstring:string privkeys:strings prevtxs:array?
    sighashtype:string?
syncwithvalidationinterfacequeue
utxoupdatepsbt psbt:string descriptors:array?
verifychain checklevel:number=3 nblocks:number=6
verifymessage address:string signature:string message:string
waitforblock blockhash:string timeout:number=0
waitforblockheight height:number timeout:number=0
waitfornewblock timeout:number=0 current_tip:string?
"""

DEFAULTS_OF_OUR_OWN: Final = {
    ("gettxoutsetinfo", "hash_type"): "there is no hash of all coins by Core's rules",
}
OF_EACH_TYPE: Final = {
    "null": None,
    "bool": True,
    "number": 0,
    "string": "x",
    "array": [],
    "object": {},
}
_ARGUMENT: Final = re.compile(r"(\w+)(?:\|(\w+))?:([\w,]+)(\?|=[^~]+)?(~?)")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a method in Core."""

    name: str
    alias: str | None
    types: tuple[str, ...]
    is_required: bool
    default: str | None  # in JSON
    may_be_missing: bool

    @property
    def pattern(self) -> str:
        return self.name if self.alias is None else f"{self.name}|{self.alias}"

    @property
    def is_typed(self) -> bool:
        """Whether its JSON type is checked before the method runs, together with all others."""
        return len(self.types) == 1 and self.types[0] not in {"amount", "any"}

    @property
    def json_types(self) -> frozenset[str]:
        """The JSON types that it accepts."""
        plain = {"strings": "array", "amount": "number,string", "any": ",".join(OF_EACH_TYPE)}
        return frozenset(",".join(plain.get(one, one) for one in self.types).split(","))

    @property
    def valid_value(self) -> Any:
        """A value of an accepted type, possibly a meaningless one."""
        return next(value for name, value in OF_EACH_TYPE.items() if name in self.json_types)


def _argument(text: str) -> Argument:
    found = _ARGUMENT.fullmatch(text)
    assert found is not None, text
    name, alias, types, rest, later = found.groups()
    default = rest[1:] if rest and rest != "?" else None
    assert default is None or json.loads(default) is not None, text
    return Argument(name, alias, tuple(types.split(",")), rest is None, default, bool(later))


def _rows(lines: str) -> dict[str, tuple[Argument, ...]]:
    rows = [line.split(" ") for line in lines.strip().replace("\n    ", " ").splitlines()]
    return {name: tuple(map(_argument, arguments)) for name, *arguments in rows}


CORE_PRESENT: Final = _rows(PRESENT)
CORE: Final = {**_rows(ABSENT), **CORE_PRESENT}
