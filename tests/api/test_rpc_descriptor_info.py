"""Analysis of scripts and descriptors: decodescript, getdescriptorinfo, deriveaddresses."""

import bdkpython as bdk
import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.descriptor import checksum
from chain.primitives.hashes import hash160, sha256
from chain.primitives.script import op_return, p2sh_script, p2wpkh_script, push
from chain.service.api.rpc.descriptor_info import DESCRIBED_BYTES_MAX, SCRIPT_BYTES_MAX
from tests.builders import KEY

ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)
P2PKH = b"\x76\xa9\x14" + KEY.key_hash + b"\x88\xac"
P2PK = b"\x21" + KEY.public + b"\xac"


def with_checksum(text):
    return f"{text}#{checksum(text)}"


def test_a_witness_program_is_decoded_with_its_address(on_node):
    async def scenario(node):
        assert await node.rpc("decodescript", KEY.script.hex()) == {
            "asm": f"0 {KEY.key_hash.hex()}",
            "desc": with_checksum(f"addr({ADDRESS})"),
            "address": ADDRESS,
            "type": "witness_v0_keyhash",
            "p2sh": p2sh_of(KEY.script),
        }

    on_node(scenario)


def address_of(script: bytes) -> str:
    return script_address(script, REGTEST.address_prefixes)


def p2sh_of(script: bytes) -> str:
    return address_of(p2sh_script(hash160(script)))


@pytest.mark.parametrize("script", [P2PKH, P2PK], ids=["p2pkh", "p2pk"])
def test_a_script_of_one_key_is_decoded_with_the_addresses_that_could_be_paid_instead(
    on_node, script
):
    async def scenario(node):
        told = await node.rpc("decodescript", script.hex())
        assert told["type"] == ("pubkeyhash" if script is P2PKH else "pubkey")
        assert told.get("address") == (address_of(P2PKH) if script is P2PKH else None)
        assert told["p2sh"] == p2sh_of(script)
        assert told["segwit"] == {
            "asm": f"0 {KEY.key_hash.hex()}",
            "desc": with_checksum(f"addr({ADDRESS})"),
            "hex": KEY.script.hex(),
            "address": ADDRESS,
            "type": "witness_v0_keyhash",
            "p2sh-segwit": p2sh_of(KEY.script),
        }

    on_node(scenario)


MULTISIG = b"\x51" + push(KEY.public) + b"\x51\xae"
LONG_MULTISIG = b"\x51" + push(b"\x04" + bytes(64)) + b"\x51\xae"


@pytest.mark.parametrize("script", [b"", b"\x51", MULTISIG])
def test_other_scripts_are_decoded_with_p2sh_and_p2wsh(on_node, script):
    async def scenario(node):
        told = await node.rpc("decodescript", script.hex())
        assert told["p2sh"] == p2sh_of(script)
        program = b"\x00\x20" + sha256(script)
        assert told["segwit"]["hex"] == program.hex()
        assert told["segwit"]["address"] == address_of(program)
        assert told["segwit"]["p2sh-segwit"] == p2sh_of(program)

    on_node(scenario)


@pytest.mark.parametrize(
    ("script", "kind", "wraps"),
    [
        (op_return(b"data"), "nulldata", set()),
        (b"\x05\x01", "nonstandard", set()),  # a push cut short
        (b"\xba", "nonstandard", set()),
        (b"\x50", "nonstandard", set()),  # OP_SUCCESS80
        (push(bytes(521)), "nonstandard", set()),
        (b"\x51\x20" + bytes(32), "witness_v1_taproot", set()),
        (b"\xa9\x14" + bytes(20) + b"\x87", "scripthash", set()),
        (KEY.script, "witness_v0_keyhash", {"p2sh"}),
        (push(b"\x04" + bytes(64)) + b"\xac", "pubkey", {"p2sh"}),
        (LONG_MULTISIG, "multisig", {"p2sh"}),  # witnesses need compressed keys
    ],
)
def test_a_script_that_cannot_be_wrapped_is_decoded_without(on_node, script, kind, wraps):
    async def scenario(node):
        told = await node.rpc("decodescript", script.hex())
        assert told["type"] == kind
        assert set(told) - {"asm", "desc", "type", "address"} == wraps

    on_node(scenario)


def test_scripts_have_a_length_and_are_hex(on_node):
    async def scenario(node):
        for size, has_desc in ((DESCRIBED_BYTES_MAX, True), (DESCRIBED_BYTES_MAX + 1, False)):
            assert ("desc" in await node.rpc("decodescript", "51" * size)) == has_desc
        assert (await node.rpc_error("decodescript", "51" * (SCRIPT_BYTES_MAX + 1)))["code"] == -8
        for text in ("5", "zz", "51 51", " "):
            error = {"code": -8, "message": f"argument must be hexadecimal string (not '{text}')"}
            assert await node.rpc_error("decodescript", text) == error

    on_node(scenario)


@pytest.mark.parametrize(
    ("text", "shown", "solvable"),
    [
        (f"wpkh({KEY.public.hex()})", f"wpkh({KEY.public.hex()})", True),
        (f"addr({ADDRESS})", f"addr({ADDRESS})", False),
        (f"addr({ADDRESS.upper()})", f"addr({ADDRESS})", False),
        ("raw(51AB)", "raw(51ab)", False),
    ],
)
def test_a_descriptor_is_told_with_its_checksum(on_node, text, shown, solvable):
    async def scenario(node):
        told = await node.rpc("getdescriptorinfo", text)
        assert told == {
            "descriptor": with_checksum(shown),
            "checksum": checksum(text),
            "isrange": False,
            "issolvable": solvable,
            "hasprivatekeys": False,
        }
        assert await node.rpc("getdescriptorinfo", with_checksum(text)) == told
        if solvable:
            assert str(bdk.Descriptor(shown, bdk.NetworkKind.TEST)) == told["descriptor"]

    on_node(scenario)


@pytest.mark.parametrize(
    "text",
    ["", "foo", "raw()", "raw(51)#aaaaaaaa", "wpkh(00)", "x" * 30_000, f"wpkh(02{'f' * 64})"],
)
def test_what_is_no_descriptor_is_refused(on_node, text):
    async def scenario(node):
        assert (await node.rpc_error("getdescriptorinfo", text))["code"] == -5
        assert (await node.rpc_error("deriveaddresses", text))["code"] == -5

    on_node(scenario)


def test_the_address_of_a_descriptor_is_derived(on_node):
    async def scenario(node):
        for text in (f"wpkh({KEY.public.hex()})", f"addr({ADDRESS})", f"raw({KEY.script.hex()})"):
            assert await node.rpc("deriveaddresses", with_checksum(text)) == [ADDRESS]
            missing = {"code": -5, "message": "Missing checksum"}
            assert await node.rpc_error("deriveaddresses", text) == missing
            for bounds in (0, [0, 2]):
                problem = "Range should not be specified for an un-ranged descriptor"
                error = {"code": -8, "message": problem}
                assert await node.rpc_error("deriveaddresses", with_checksum(text), bounds) == error
        problem = "Descriptor does not have a corresponding address"
        error = {"code": -5, "message": problem}
        assert await node.rpc_error("deriveaddresses", with_checksum("raw(51)")) == error
        assert p2wpkh_script(hash160(KEY.public)) == KEY.script

    on_node(scenario)
