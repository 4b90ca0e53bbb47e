"""JSON-RPC: descriptors of extended keys, with ranges and several paths (BIP380, BIP389)."""

import bdkpython as bdk
import pytest

from chain.primitives.address import address_script, script_address
from chain.primitives.descriptor import checksum
from chain.primitives.hashes import hash160
from chain.primitives.numbers import Amount, OutPoint
from chain.primitives.psbt import Psbt
from chain.primitives.script import p2wpkh_script
from chain.primitives.transaction import Transaction, TxIn, TxOut
from chain.service.api.rpc.descriptor_argument import DERIVED_MAX
from tests.builders import KEY

ORIGIN = "[73c5da0a/84h/1h/0h]"
XPUB = (
    "tpubDC8msFGeGuwnKG9Upg7DM2b4DaRqg3CUZa5g8v2SRQ6K4NSkxUgd7HsL2XVWbVm39yBA4LAxysQAm397zwQSQoQgewGiYZq"
    "rA9DsP4zbQ1M"
)
MAIN = (
    "xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUhLv"
    "1VMrjPC7PW6V"
)
XPRV = (
    "tprv8ZgxMBicQKsPe5YMU9gHen4Ez3ApihUfykaqUorj9t6FDqy3nP6eoXiAo2ssvpAjoLroQxHqr3R5nE3a5dU3DHTjTgJDd7z"
    "rbniJr6nrCzd"
)
RANGED = f"wpkh({ORIGIN}{XPUB}/0/*)"
BOTH = f"wpkh({ORIGIN}{XPUB}/<0;1>/*)"


def summed(text):
    return f"{text}#{checksum(text)}"


def derived(text, *indexes):
    """Return what BDK derives of a descriptor with one path."""
    theirs = bdk.Descriptor(text, bdk.NetworkKind.TEST)
    return [str(theirs.derive_address(index, bdk.Network.REGTEST)) for index in indexes]


def test_a_range_of_addresses_is_derived_as_bdk_does(on_node):
    async def scenario(node):
        for text, bounds, indexes in [
            (RANGED, 2, range(3)),
            (RANGED, [7, 8], (7, 8)),
            (RANGED, [2**31 - 1, 2**31 - 1], (2**31 - 1,)),
            (f"wpkh({XPUB}/0/*)", 0, (0,)),
            (f"wpkh({XPUB}/1/2/3/*)", 1, (0, 1)),
        ]:
            assert await node.rpc("deriveaddresses", summed(text), bounds) == derived(
                text, *indexes
            )
        text = f"wpkh({XPUB}/0/5)"
        assert await node.rpc("deriveaddresses", summed(text)) == derived(RANGED, 5)

    on_node(scenario)


def test_a_descriptor_with_several_paths_gives_a_list_of_addresses_for_each(on_node):
    async def scenario(node):
        one, two = (derived(f"wpkh({XPUB}/{branch}/*)", 0, 1) for branch in (0, 1))
        assert await node.rpc("deriveaddresses", summed(BOTH), [0, 1]) == [one, two]
        text = f"wpkh({XPUB}/<1;0;5>/1)"
        lists = await node.rpc("deriveaddresses", summed(text))
        assert lists[:2] == [[two[1]], [one[1]]]
        assert len(lists) == 3

    on_node(scenario)


def test_a_descriptor_with_several_paths_is_expanded(on_node):
    async def scenario(node):
        told = await node.rpc("getdescriptorinfo", BOTH)
        paths = [summed(BOTH.replace("<0;1>", branch)) for branch in "01"]
        assert told == {
            "descriptor": paths[0],
            "multipath_expansion": paths,
            "checksum": checksum(BOTH),
            "isrange": True,
            "issolvable": True,
            "hasprivatekeys": False,
        }
        upper = RANGED.replace("73c5da0a", "73C5DA0A")
        told = await node.rpc("getdescriptorinfo", upper)
        assert told["descriptor"] == summed(RANGED)
        assert "multipath_expansion" not in told
        single = f"wpkh([73c5da0a/0']{KEY.public.hex()})"
        told = await node.rpc("getdescriptorinfo", single)
        assert (told["descriptor"], told["isrange"]) == (summed(single), False)

    on_node(scenario)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (MAIN + "/0/*", "the extended key is of another network"),
        (XPRV + "/0/*", "a private key, which is not supported: use the public descriptor"),
        (f"{'K' + 'x' * 51}", "a private key, which is not supported"),
        (XPUB[:-1] + "z/0/*", "not an extended key"),
        (XPUB + "/0h/*", "an extended public key has no hardened children"),
        (XPUB + "/*h", "an extended public key has no hardened children"),
        (XPUB + "/2147483648/*", "no child has number 2147483648"),
        (XPUB + "/<0>/*", "a key has at most one <NUMBER;NUMBER>"),
        (XPUB + "/<0;1>/<2;3>/*", "a key has at most one <NUMBER;NUMBER>"),
        (XPUB + "/<0;x>/*", "a key has at most one <NUMBER;NUMBER>"),
        (XPUB + "/<0;1;0>/*", "<...> holds at most 16 numbers, and none twice"),
        (XPUB + f"/<{';'.join(map(str, range(17)))}>/*", "<...> holds at most 16 numbers"),
        (XPUB + "/0" * 254 + "/*", "no child number 0 at depth 255"),
        (f"[xyz]{XPUB}/*", "not the origin of a key"),
        (f"[73c5da0a/9999999999]{XPUB}/*", "no child has number"),
        (KEY.public.hex() + "/0", "a key that is not extended has no children"),
        ("02" + "f" * 64, f"Pubkey '02{'f' * 64}' is invalid"),
        ("02" + "z" * 64, "not a key: not hex"),
        ("[73c5da0a]", "not a key of a descriptor"),
        (XPUB + "/*/0", "not a key of a descriptor"),
    ],
)
def test_what_is_no_key_of_a_descriptor_is_refused_with_the_reason(on_node, key, problem):
    async def scenario(node):
        for method, arguments in (("getdescriptorinfo", ()), ("deriveaddresses", (0,))):
            error = await node.rpc_error(method, summed(f"wpkh({key})"), *arguments)
            assert error["code"] == -5
            assert error["message"].startswith(f"wpkh(): {problem}")

    on_node(scenario)


def test_a_ranged_descriptor_needs_a_range_and_is_bounded(on_node):
    async def scenario(node):
        error = await node.rpc_error("deriveaddresses", summed(RANGED))
        assert error == {"code": -8, "message": "Range must be specified for a ranged descriptor"}
        for text, most in ((RANGED, DERIVED_MAX), (BOTH, DERIVED_MAX // 2)):
            error = await node.rpc_error("deriveaddresses", summed(text), [0, most])
            assert error["code"] == -8
            assert error["message"].startswith("more than 5,000 scripts")
        addresses = await node.rpc("deriveaddresses", summed(RANGED), DERIVED_MAX - 1)
        assert len(addresses) == DERIVED_MAX
        scanned = {"desc": BOTH, "range": DERIVED_MAX // 2}
        assert (await node.rpc_error("scantxoutset", "start", [scanned]))["code"] == -8

    on_node(scenario)


def test_a_scan_finds_the_coins_of_every_path_and_index(on_node):
    async def scenario(node):
        [far] = derived(f"wpkh({XPUB}/1/*)", 1000)
        await node.rpc("generatetoaddress", 1, far)
        found = await node.rpc("scantxoutset", "start", [BOTH])
        script = address_script(far, node.context.params.address_prefixes)
        assert [coin["scriptPubKey"] for coin in found["unspents"]] == [script.hex()]
        for bounds, count in ((999, 0), ([1000, 1000], 1)):
            scanned = [{"desc": BOTH, "range": bounds}]
            assert (await node.rpc("scantxoutset", "start", scanned))["txouts"] == count

    on_node(scenario)


def test_blocks_are_not_generated_to_many_scripts(on_node):
    async def scenario(node):
        for text, problem in (
            (RANGED, "Ranged descriptor not accepted. Maybe pass through deriveaddresses first?"),
            (BOTH, "Multipath descriptor not accepted"),
        ):
            error = {"code": -8, "message": problem}
            assert await node.rpc_error("generatetodescriptor", 1, text) == error
            assert await node.rpc_error("generateblock", text, []) == error
        assert len(await node.rpc("generatetodescriptor", 1, f"wpkh({XPUB}/0/5)")) == 1

    on_node(scenario)


def test_the_derivation_of_a_ranged_key_is_added_to_a_psbt(on_node):
    async def scenario(node):
        [address] = derived(f"wpkh({XPUB}/1/*)", 7)
        script = address_script(address, node.context.params.address_prefixes)
        spend = Transaction(2, [TxIn(OutPoint(bytes(36)))], [TxOut(Amount(5), script)])
        blank = Psbt(spend, {}, ({},), ({},)).text()
        for text, fingerprint, path in (
            (BOTH, "73c5da0a", "m/84h/1h/0h/1/7"),
            (f"wpkh({XPUB}/1/*)", None, "m/1/7"),
        ):
            filled = await node.rpc("utxoupdatepsbt", blank, [{"desc": text, "range": [0, 7]}])
            told = await node.rpc("decodepsbt", filled)
            [origin] = told["outputs"][0]["bip32_derivs"]
            assert p2wpkh_script(hash160(bytes.fromhex(origin["pubkey"]))) == script
            assert origin["path"] == path
            assert fingerprint in {None, origin["master_fingerprint"]}
        assert script_address(script, node.context.params.address_prefixes) == address

    on_node(scenario)
