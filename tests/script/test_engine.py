"""What vectors and random spends show too rarely, each as a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.primitives.encoding import with_size
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Amount
from chain.primitives.script import push, script_text
from chain.primitives.sighash import SIGHASH_ALL
from chain.primitives.signature import ORDER
from chain.primitives.transaction import Transaction, TxIn, TxOut, decode_transaction
from chain.script.checks import CheckQueue
from chain.script.errors import ScriptVerifyError
from chain.script.flags import CONSENSUS, STANDARD, VerifyFlags
from chain.script.hashes import InputHashes, without_separators
from chain.script.number import as_bool, decode_number, encode_number
from chain.script.opcodes import Op, op_name
from chain.script.sigops import sigops_cost
from chain.script.spend import verify_spend
from tests.script.core_format import parse_script
from tests.script.engines import btclib, groat, spent
from tests.script.locks import KEYS, Draft, Leaf, Sign, p2sh, spend_script, tapscript_parts

KEY, OTHER = KEYS[0], KEYS[1]
DRAFT = Draft()


# numbers


@given(st.integers(-(2**40), 2**40))
def test_numbers_come_back_from_their_shortest_form(number):
    assert decode_number(encode_number(number), 6, minimal=True) == number


@pytest.mark.parametrize(
    ("item", "number"),
    [("", 0), ("00", 0), ("80", 0), ("0080", 0), ("01", 1), ("81", -1), ("ff80", -255)],
)
def test_a_number_has_many_forms_and_one_that_is_minimal(item, number):
    data = bytes.fromhex(item)
    assert decode_number(data, 4, minimal=False) == number
    if data == encode_number(number):
        assert decode_number(data, 4, minimal=True) == number
    else:
        with pytest.raises(ScriptVerifyError, match="non-minimally"):
            decode_number(data, 4, minimal=True)


@pytest.mark.parametrize(
    ("item", "value"),
    [("", False), ("80", False), ("000080", False), ("8000", True), ("0001", True), ("81", True)],
)
def test_zero_and_negative_zero_are_false(item, value):
    assert as_bool(bytes.fromhex(item)) is value


def test_opcodes_print_as_bitcoin_prints_them():
    assert [op_name(opcode) for opcode in (0, 0x4F, 0x51, 0x60, 0x76, 0xB1, 0xBA, 0xBB, 0xFF)] == [
        "0",
        "-1",
        "1",
        "16",
        "OP_DUP",
        "OP_CHECKLOCKTIMEVERIFY",
        "OP_CHECKSIGADD",
        "OP_UNKNOWN",
        "OP_INVALIDOPCODE",
    ]


def test_esplora_names_each_opcode_as_core_but_for_numbers_and_locks():
    others = {
        "OP_CHECKLOCKTIMEVERIFY": "OP_CLTV",
        "OP_CHECKSEQUENCEVERIFY": "OP_CSV",
        "OP_1NEGATE": "OP_PUSHNUM_NEG1",
    }
    pushes = {Op.OP_PUSHDATA1, Op.OP_PUSHDATA2, Op.OP_PUSHDATA4}
    for opcode in set(Op) - pushes:
        name = others.get(opcode.name, opcode.name)
        if Op.OP_1 <= opcode <= Op.OP_16:
            name = f"OP_PUSHNUM_{opcode - Op.OP_1 + 1}"
        assert script_text(bytes([opcode])) == name
    assert script_text(b"\xbb\xfe") == "OP_RETURN_187 OP_RETURN_254"


def test_flags_have_bitcoins_bits():
    assert CONSENSUS == 134677
    assert STANDARD == (1 << 21) - 1 - 32
    assert VerifyFlags.DISCOURAGE_UPGRADABLE_PUBKEYTYPE == 1 << 20


# signature hashes


@pytest.mark.parametrize(
    ("code", "written"),
    [
        ("51ab52ab", "025152"),
        ("01abac", "0301abac"),  # what a push holds stays
        ("51ab4c05aa", "045" + "14c05"),  # cut short: counted, but its data is not written
        ("514d05", "03514d"),
        ("5105aabb", "045105"),
    ],
)
def test_a_legacy_script_code_is_written_without_separators(code, written):
    assert without_separators(bytes.fromhex(code)).hex() == written


def test_hashes_kept_for_one_script_code_serve_no_other():
    """Two signatures of one hash type over two script codes (libbitcoin-system#1929)."""
    hashes = DRAFT.hashes(b"\x51")
    for name in ("legacy", "witness_v0"):
        used = InputHashes(hashes, 0)
        first, second, again = (getattr(used, name)(code, 1) for code in (b"a", b"b", b"a"))
        assert first == again == getattr(InputHashes(hashes, 0), name)(b"a", 1)
        assert second == getattr(InputHashes(hashes, 0), name)(b"b", 1) != first


def test_hash_types_of_one_class_share_what_they_hash_and_differ():
    used = InputHashes(DRAFT.hashes(b"\x51"), 0)
    digests = {used.legacy(b"\xac", hash_type) for hash_type in (0, 1, 4, 0x7FFFFFFF, -1)}
    assert len(digests) == 5


def test_single_without_its_output_signs_one_before_segwit():
    draft = Draft(sequences=(0, 0), index=1)
    hashes = InputHashes(draft.hashes(b"\x51"), 1)
    assert hashes.legacy(b"\xac", 3) == b"\x01" + bytes(31)
    assert hashes.taproot(3, None) is None
    digests = {hashes.witness_v0(b"\xac", hash_type) for hash_type in (2, 3)}
    assert len(digests) == 2  # both over a zero for the outputs


class CountedOutput(TxOut):
    """An output that counts how often its bytes are computed."""

    def __init__(self, value: int, script: bytes) -> None:
        super().__init__(Amount(value), script)
        self.encodings = 0

    def encode(self) -> bytes:
        self.encodings += 1
        return super().encode()


@pytest.mark.parametrize("hash_type", [0x03, 0x83])
@pytest.mark.parametrize("kind", ["taproot", "witness_v0"])
def test_single_hashes_its_output_once_however_many_signatures_sign_it(kind, hash_type):
    """Each signature signs something else: a code separator's position, or a script code."""
    out = CountedOutput(1000, bytes(1000))
    used = InputHashes(Draft(outputs=(out,)).hashes(b"\x51"), 0)
    before = out.encodings
    if kind == "taproot":
        digests = {used.taproot(hash_type, None, bytes([at])) for at in range(50)}
    else:
        used.witness_v0(b"", SIGHASH_ALL)  # all outputs, which it shares with the other inputs
        before = out.encodings
        digests = {used.witness_v0(bytes([at]), hash_type) for at in range(50)}
    assert len(digests) == 50
    assert out.encodings == before + 1


def test_the_output_of_another_input_is_hashed_anew():
    outputs = (TxOut(Amount(1), b"\x51"), TxOut(Amount(2), b"\x52"))
    hashes = Draft(sequences=(0, 0), outputs=outputs).hashes(b"\x51")
    for index in (0, 1, 0):
        assert hashes.sha_output(index) == sha256(outputs[index].encode())


# the queue of signatures


def queue_of(case) -> CheckQueue:
    queue = CheckQueue()
    verify_spend(spent(case), case.index, CONSENSUS, queue)
    return queue


@pytest.mark.parametrize("context", ["base", "p2sh", "v0", "wrapped_v0", "tapscript"])
@pytest.mark.parametrize("end", ["CHECKSIG", "CHECKSIGVERIFY 1"])
def test_a_signature_on_which_all_hangs_is_queued(context, end):
    shown = KEY.xonly if context == "tapscript" else KEY.compressed
    script = push(shown) + parse_script(end)
    for signer in (KEY, OTHER):
        queue = queue_of(spend_script(DRAFT, context, script, [Sign(signer)]))
        (check,) = queue.checks
        assert check.verify() is (signer is KEY)


@pytest.mark.parametrize("context", ["base", "p2sh", "v0", "wrapped_v0"])
@pytest.mark.parametrize("end", ["CHECKSIG NOT", "CHECKSIG DROP 1", "CHECKSIG IF 0 ELSE 1 ENDIF"])
def test_a_signature_that_may_be_wrong_is_verified_at_once(context, end):
    script = push(KEY.compressed) + parse_script(end)
    case = spend_script(DRAFT, context, script, [Sign(OTHER)])
    assert groat(case, CONSENSUS) == "OK"
    assert queue_of(case).checks == []


def test_a_signature_check_at_the_end_of_a_script_sig_decides_nothing():
    script_sig = push(b"") + push(KEY.compressed) + b"\xac"
    case = DRAFT.case(b"\x91", script_sig, ())  # NOT
    assert groat(case, CONSENSUS) == "OK"
    assert queue_of(case).checks == []
    other = spend_script(DRAFT, "base", b"\xac\x91", [Sign(OTHER), KEY.compressed])
    assert groat(other, CONSENSUS) == "OK"
    assert queue_of(other).checks == []


# limits


@pytest.mark.parametrize(("operations", "error"), [(201, "OK"), (202, "OP_COUNT")])
def test_201_operations_and_reserved_ones_do_not_count(operations, error):
    dead = b"\x00\x63" + b"\x50" * 5 + b"\x61" * (operations - 2) + b"\x68\x51"
    assert groat(spend_script(DRAFT, "v0", dead, []), CONSENSUS) == error


@pytest.mark.parametrize(("keys", "error"), [(20, "OK"), (21, "PUBKEY_COUNT")])
def test_a_multisig_has_twenty_keys(keys, error):
    script = b"\x00" + b"\x00" * keys + push(bytes([keys])) + b"\xae"
    assert groat(spend_script(DRAFT, "v0", script, [b""]), CONSENSUS) == error


@pytest.mark.parametrize(("extra", "error"), [(0, "OK"), (1, "OP_COUNT")])
def test_a_multisigs_keys_count_as_operations(extra, error):
    script = b"\x61" * (180 + extra) + b"\x00" * 22 + push(b"\x14") + b"\xae"
    assert groat(spend_script(DRAFT, "v0", script, []), CONSENSUS) == error


@pytest.mark.parametrize(("size", "error"), [(10_000, "OK"), (10_001, "SCRIPT_SIZE")])
def test_a_script_has_ten_thousand_bytes_but_for_tapscript(size, error):
    script = push(bytes(500)) + b"\x75"
    script = script * 19
    script += b"\x00" * (size - len(script) - 1 - 100) + b"\x75" * 100 + b"\x51"
    case = spend_script(DRAFT, "v0", script, [])
    assert groat(case, CONSENSUS) == ("CLEANSTACK" if error == "OK" else error)
    assert groat(spend_script(DRAFT, "tapscript", script, []), CONSENSUS) == "CLEANSTACK"


@pytest.mark.parametrize(("items", "error"), [(999, "CLEANSTACK"), (1000, "STACK_SIZE")])
def test_both_stacks_together_hold_a_thousand_items(items, error):
    script = parse_script("TOALTSTACK DUP FROMALTSTACK")
    case = spend_script(DRAFT, "v0", script, [b""] * items)
    assert groat(case, CONSENSUS) == error


@pytest.mark.parametrize(("size", "error"), [(520, "OK"), (521, "PUSH_SIZE")])
def test_an_item_has_520_bytes(size, error):
    case = spend_script(DRAFT, "tapscript", parse_script("DROP 1"), [bytes(size)])
    assert groat(case, CONSENSUS) == error


@pytest.mark.parametrize(("nodes", "error"), [(128, "OK"), (129, "TAPROOT_WRONG_CONTROL_SIZE")])
def test_a_path_has_128_nodes(nodes, error):
    leaf = Leaf(path=[bytes([at]) * 32 for at in range(nodes)])
    assert groat(spend_script(DRAFT, "tapscript", b"\x51", [], leaf), CONSENSUS) == error


@pytest.mark.parametrize(("padding", "error"), [(52, "TAPSCRIPT_VALIDATION_WEIGHT"), (53, "OK")])
def test_signatures_cost_fifty_of_the_witness_and_fifty(padding, error):
    """Keys of a kind to come cost it too, and the annex pays for it."""
    script = parse_script("2DUP CHECKSIGVERIFY 2DUP CHECKSIGVERIFY CHECKSIG")
    leaf = Leaf(annex=b"\x50" + bytes(padding))
    case = spend_script(DRAFT, "tapscript", script, [b"\x01", b"\x02"], leaf)
    (txin,) = decode_transaction(case.raw).inputs
    size = 1 + sum(len(with_size(item)) for item in txin.witness)
    assert size + 50 - 3 * 50 == padding - 53
    assert groat(case, CONSENSUS) == error


@pytest.mark.parametrize("taken", [True, False])
def test_conditions_as_deep_as_a_block_allows_take_no_longer_each(taken):
    """With a list of conditions to search, this would take minutes (the guard: it ends)."""
    depth = 100_000
    start = b"\x51\x63" * depth if taken else b"\x00\x63" + b"\x63" * depth
    script = start + b"\x68" * (depth if taken else depth + 1) + b"\x51"
    case = spend_script(DRAFT, "tapscript", script, [])
    assert groat(case, CONSENSUS) == "OK"


# signature operations


def cost(script: bytes, script_sig: bytes = b"", witness: tuple[bytes, ...] = ()) -> int:
    """Return what spending `script` costs, in a transaction with one output of one CHECKSIG."""
    point = DRAFT.hashes(b"").transaction.inputs[0].outpoint
    txin = TxIn(point, script_sig, witness=witness)
    tx = Transaction(2, [txin], [TxOut(Amount(1), b"\xac")])
    return sigops_cost(tx, [TxOut(Amount(1), script)]) - 4


TWO_OF_THREE = parse_script("2 0 0 0 3 CHECKMULTISIG CHECKSIG")
V0 = b"\x00\x20" + sha256(TWO_OF_THREE)
KEY_HASH = b"\x00\x14" + bytes(20)


@pytest.mark.parametrize(
    ("expected", "script", "script_sig", "witness"),
    [
        (0, TWO_OF_THREE, b"", ()),  # a bare script costs where it is made
        (84, b"\x51", TWO_OF_THREE, ()),  # 20 keys where none can be told
        (16, p2sh(TWO_OF_THREE), push(TWO_OF_THREE), ()),
        (0, p2sh(TWO_OF_THREE), push(TWO_OF_THREE) + b"\x61", ()),  # not pushes alone
        (0, p2sh(TWO_OF_THREE), push(TWO_OF_THREE) + b"\x51", ()),  # the last pushes no script
        (0, p2sh(TWO_OF_THREE), push(TWO_OF_THREE) + b"\x05", ()),  # the last is cut short
        (0, p2sh(TWO_OF_THREE), b"", ()),
        (1, KEY_HASH, b"", ()),
        (1, p2sh(KEY_HASH), push(KEY_HASH), ()),
        (4, V0, b"", (b"", TWO_OF_THREE)),
        (0, V0, b"", ()),
        (4, p2sh(V0), push(V0), (TWO_OF_THREE,)),
        (0, p2sh(V0), b"\x61" + push(V0), (TWO_OF_THREE,)),
        (0, b"\x51\x20" + bytes(32), b"", (b"\xac",)),
        (0, b"\x00\x20" + bytes(33), b"", (b"\xac",)),  # no program
    ],
)
def test_signature_operations_cost(expected, script, script_sig, witness):
    assert cost(script, script_sig, witness) == expected


def test_a_coinbase_costs_what_its_own_scripts_hold():
    tx = Transaction(2, [TxIn(b"\x00" * 32 + b"\xff" * 4, b"\xae")], [TxOut(Amount(1), b"\xac")])
    assert sigops_cost(tx, []) == 84


# programs


@pytest.mark.parametrize("program", [b"\x51\x02\x4e\x73", b"\x60\x02\x01\x01", b"\x51\x03abc"])
@pytest.mark.parametrize(("script_sig", "error"), [(b"", "OK"), (b"\x51", "WITNESS_MALLEATED")])
def test_programs_without_a_meaning_need_an_empty_script_sig(program, script_sig, error):
    assert groat(DRAFT.case(program, script_sig, ()), CONSENSUS) == error


@pytest.mark.parametrize("opcode", [0x00, 0x51, 0x52, 0x60])
@pytest.mark.parametrize("last", [0x00, 0x80])
def test_a_program_that_reads_as_false_cannot_be_spent(opcode, last):
    program = bytes([opcode, 32]) + bytes(31) + bytes([last])
    assert groat(DRAFT.case(program, b"", ()), CONSENSUS) == "EVAL_FALSE"


@pytest.mark.parametrize("size", [2, 32, 40])
def test_taproot_wrapped_or_of_another_size_is_anyones(size):
    program = b"\x51" + push(bytes([7]) * size)
    assert groat(DRAFT.case(p2sh(program), push(program), ()), CONSENSUS) == "OK"
    if size != 32:
        assert groat(DRAFT.case(program, b"", ()), CONSENSUS) == "OK"


def test_an_opcode_to_come_makes_a_tapscript_valid_before_any_limit():
    output, control = tapscript_parts(b"\x6a\x50", Leaf())
    case = DRAFT.case(output, b"", (*[bytes(600)] * 1001, b"\x6a\x50", control))
    assert groat(case, CONSENSUS) == "OK"
    assert groat(case, STANDARD) == "DISCOURAGE_OP_SUCCESS"


@pytest.mark.parametrize(("items", "error"), [(1000, "CLEANSTACK"), (1001, "STACK_SIZE")])
def test_a_tapscript_starts_with_at_most_a_thousand_items(items, error):
    """Even if its first operation takes some away, which saves a script of version 0."""
    drop = parse_script("2DROP")
    assert groat(spend_script(DRAFT, "tapscript", drop, [b""] * items), CONSENSUS) == error
    assert groat(spend_script(DRAFT, "v0", drop, [b""] * items), CONSENSUS) == "CLEANSTACK"


def test_a_key_of_a_kind_to_come_is_valid_and_not_standard():
    script = push(b"\x01" * 33) + parse_script("CHECKSIG")
    case = spend_script(DRAFT, "tapscript", script, [b"\x01"])
    assert groat(case, CONSENSUS) == "OK"
    assert groat(case, STANDARD) == "DISCOURAGE_UPGRADABLE_PUBKEYTYPE"


def test_a_leaf_of_a_version_to_come_is_valid_and_not_standard():
    output, control = tapscript_parts(b"\x6a", Leaf(version=0xC2))
    case = DRAFT.case(output, b"", (b"\x6a", control))
    assert groat(case, CONSENSUS) == "OK"
    assert groat(case, STANDARD) == "DISCOURAGE_UPGRADABLE_TAPROOT_VERSION"


HALF = ORDER // 2


@pytest.mark.parametrize(
    ("r", "s", "error"),
    [
        (1, HALF, "NULLFAIL"),
        (1, HALF + 1, "SIG_HIGH_S"),
        (1, ORDER - 1, "SIG_HIGH_S"),
        (1, ORDER, "NULLFAIL"),
        (1, 1 << 260, "NULLFAIL"),
        (ORDER - 1, HALF + 1, "SIG_HIGH_S"),
        (ORDER, HALF + 1, "NULLFAIL"),
    ],
)
def test_numbers_beyond_the_order_are_wrong_and_not_high(r, s, error):
    """Bitcoin reads such a signature as zeros before it asks whether S is low."""
    numbers = b"".join(
        bytes([2, n.bit_length() // 8 + 1]) + n.to_bytes(n.bit_length() // 8 + 1, "big")
        for n in (r, s)
    )
    signature = bytes([0x30, len(numbers)]) + numbers + b"\x01"
    script = push(KEY.compressed) + parse_script("CHECKSIG")
    case = spend_script(DRAFT, "base", script, [signature])
    assert groat(case, STANDARD) == btclib(case, STANDARD) == error
    assert groat(case, CONSENSUS) == "EVAL_FALSE"
