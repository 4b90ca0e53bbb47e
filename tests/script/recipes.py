"""For each error that consensus can give: a script and what is shown to it, for each context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chain.primitives.hashes import hash160, sha256
from chain.primitives.script import push
from chain.primitives.transaction import decode_transaction
from tests.script.core_format import parse_script, shown
from tests.script.kernel_process import Case
from tests.script.locks import (
    CONTEXTS,
    KEYS,
    Draft,
    Item,
    Leaf,
    Sign,
    p2sh,
    spend_script,
    tapscript_parts,
)

KEY, OTHER = KEYS[0], KEYS[1]
DRAFT = Draft()
PRE_TAPSCRIPT = ("base", "p2sh", "v0", "wrapped_v0")
WITNESS = ("v0", "wrapped_v0", "tapscript")


@dataclass(frozen=True)
class Recipe:
    """A spend that fails with `error`."""

    error: str
    context: str
    case: Case


def key_of(context: str) -> bytes:
    return KEY.xonly if context == "tapscript" else KEY.compressed


def check_key(context: str, operation: str = "CHECKSIG") -> bytes:
    return push(key_of(context)) + parse_script(operation)


# Error, script, items from the top of the stack down, contexts.
_SIMPLE: Sequence[tuple[str, str, Sequence[bytes], Sequence[str]]] = (
    ("EVAL_FALSE", "0", (), CONTEXTS),
    ("OP_RETURN", "1 RETURN", (), CONTEXTS),
    ("SCRIPTNUM", "1ADD", (bytes(5),), CONTEXTS),
    ("VERIFY", "0 VERIFY 1", (), CONTEXTS),
    ("EQUALVERIFY", "1 2 EQUALVERIFY 1", (), CONTEXTS),
    ("NUMEQUALVERIFY", "1 2 NUMEQUALVERIFY 1", (), CONTEXTS),
    ("BAD_OPCODE", "1 0xff", (), CONTEXTS),
    ("BAD_OPCODE", "0 IF VERIF ENDIF 1", (), CONTEXTS),
    ("BAD_OPCODE", "1 0x4c", (), CONTEXTS),
    ("DISABLED_OPCODE", "0 IF CAT ENDIF 1", (), PRE_TAPSCRIPT),
    ("INVALID_STACK_OPERATION", "1 ADD", (), CONTEXTS),
    ("INVALID_ALTSTACK_OPERATION", "FROMALTSTACK", (), CONTEXTS),
    ("UNBALANCED_CONDITIONAL", "1 1 IF", (), CONTEXTS),
    ("UNBALANCED_CONDITIONAL", "1 ELSE", (), CONTEXTS),
    ("NEGATIVE_LOCKTIME", "-1 CHECKLOCKTIMEVERIFY DROP 1", (), CONTEXTS),
    ("NEGATIVE_LOCKTIME", "-1 CHECKSEQUENCEVERIFY DROP 1", (), CONTEXTS),
    ("UNSATISFIED_LOCKTIME", "1 CHECKLOCKTIMEVERIFY DROP 1", (), CONTEXTS),
    ("UNSATISFIED_LOCKTIME", "1 CHECKSEQUENCEVERIFY DROP 1", (), CONTEXTS),
    ("CLEANSTACK", "1 1", (), WITNESS),
    ("SIG_COUNT", "0 2 0 1 CHECKMULTISIG", (), PRE_TAPSCRIPT),
    ("PUBKEY_COUNT", "0 0 21 CHECKMULTISIG", (), PRE_TAPSCRIPT),
    ("CHECKMULTISIGVERIFY", "0 0 1 0 1 CHECKMULTISIGVERIFY 1", (), PRE_TAPSCRIPT),
    ("SIG_NULLDUMMY", "0 0 CHECKMULTISIG", (b"\x01",), PRE_TAPSCRIPT),
    ("TAPSCRIPT_CHECKMULTISIG", "0 IF CHECKMULTISIG ENDIF CHECKMULTISIG", (), ("tapscript",)),
    ("TAPSCRIPT_MINIMALIF", "IF 1 ENDIF", (b"\x02",), ("tapscript",)),
    ("TAPSCRIPT_EMPTY_PUBKEY", "0 CHECKSIG", (b"",), ("tapscript",)),
)


def recipes() -> list[Recipe]:
    """Return a spend for each error in each context that can give it."""
    found = [
        Recipe(error, context, spend_script(DRAFT, context, parse_script(text), items))
        for error, text, items, contexts in _SIMPLE
        for context in contexts
    ]
    for context in CONTEXTS:
        found += [
            Recipe(error, context, spend_script(DRAFT, context, script, items))
            for error, script, items in _by_context(context)
        ]
    return found + _sizes() + _signatures() + _programs() + _taproot()


def _by_context(context: str) -> list[tuple[str, bytes, Sequence[Item]]]:
    """Return (error, script, items) that need a key or a limit of the context."""
    verifying = check_key(context, "CHECKSIGVERIFY 1")
    found: list[tuple[str, bytes, Sequence[Item]]] = [
        ("CHECKSIGVERIFY", verifying, [b""]),
        ("STACK_SIZE", parse_script("NOP"), [b""] * 1001),
        ("STACK_SIZE", parse_script("TOALTSTACK 2DUP"), [b""] * 1000),
    ]
    if context != "tapscript":
        found += [
            ("OP_COUNT", parse_script("NOP") * 202 + b"\x51", []),
            ("OP_COUNT", parse_script("NOP") * 181 + parse_script("0 0 20 CHECKMULTISIG"), []),
            ("SIG_DER", check_key(context), [b"\x30\x01"]),
        ]
    return found


def _sizes() -> list[Recipe]:
    long_script = b"\x61" * 10_001
    found = [
        Recipe("SCRIPT_SIZE", context, spend_script(DRAFT, context, long_script, []))
        for context in ("base", "v0", "wrapped_v0")
    ]
    simple = p2sh(b"\x51")
    padded = push(bytes(500)) * 20 + push(b"\x51")
    found.append(Recipe("SCRIPT_SIZE", "p2sh", DRAFT.case(simple, padded, ())))
    for context in CONTEXTS:
        large = spend_script(DRAFT, context, parse_script("DROP 1"), [bytes(521)])
        found.append(Recipe("PUSH_SIZE", context, large))
    for context in ("base", "v0", "wrapped_v0", "tapscript"):
        dead = b"\x00\x63" + push(bytes(521)) + b"\x68\x51"
        found.append(Recipe("PUSH_SIZE", context, spend_script(DRAFT, context, dead, [])))
    return found


def _signatures() -> list[Recipe]:
    """Return spends that differ from right ones in what a scriptSig or a witness may hold."""
    right = {
        context: spend_script(DRAFT, context, check_key(context), [Sign(KEY)])
        for context in CONTEXTS
    }
    wrong = [
        Recipe(
            "EVAL_FALSE", context, spend_script(DRAFT, context, check_key(context), [Sign(OTHER)])
        )
        for context in PRE_TAPSCRIPT
    ]
    found = [
        Recipe("WITNESS_UNEXPECTED", context, _with(right[context], witness=(b"",)))
        for context in ("base", "p2sh")
    ]
    found += [
        Recipe("WITNESS_MALLEATED", context, _with(right[context], script_sig=b"\x51"))
        for context in ("v0", "tapscript")
    ]
    wrapped = _script_sig(right["wrapped_v0"])
    longer = b"\x4c" + wrapped  # the same push with another opcode
    found.append(
        Recipe(
            "WITNESS_MALLEATED_P2SH", "wrapped_v0", _with(right["wrapped_v0"], script_sig=longer)
        )
    )
    for context in ("p2sh", "wrapped_v0"):
        with_nop = b"\x61" + _script_sig(right[context])
        found.append(Recipe("SIG_PUSHONLY", context, _with(right[context], script_sig=with_nop)))
    return wrong + found


def _programs() -> list[Recipe]:
    """Return spends of witness programs that were not shown what they commit to."""
    found = []
    for context, wrap in (("v0", None), ("wrapped_v0", p2sh)):
        cases = (
            ("WITNESS_PROGRAM_MISMATCH", b"\x00\x20" + sha256(b"other"), (b"\x51",)),
            ("WITNESS_PROGRAM_MISMATCH", b"\x00\x14" + hash160(KEY.compressed), (b"\x51",)),
            ("WITNESS_PROGRAM_WITNESS_EMPTY", b"\x00\x20" + sha256(b"\x51"), ()),
            ("WITNESS_PROGRAM_WRONG_LENGTH", b"\x00\x15" + bytes(20) + b"\x01", (b"\x51",)),
        )
        for error, program, witness in cases:
            script_sig = push(program) if wrap else b""
            script = wrap(program) if wrap else program
            found.append(Recipe(error, context, DRAFT.case(script, script_sig, witness)))
    return found


def _taproot() -> list[Recipe]:
    script = check_key("tapscript")
    output, control = tapscript_parts(script, Leaf())
    other_output, _ = tapscript_parts(b"\x51", Leaf())
    weighty = push(KEY.xonly) + parse_script("2DUP CHECKSIGVERIFY") * 8 + parse_script("CHECKSIG")

    def by_script(*witness: bytes, output: bytes = output) -> Case:
        return DRAFT.case(output, b"", witness)

    spends: list[tuple[str, Case]] = [
        ("WITNESS_PROGRAM_WITNESS_EMPTY", by_script()),
        ("WITNESS_PROGRAM_MISMATCH", by_script(b"", script, control, output=other_output)),
        ("TAPROOT_WRONG_CONTROL_SIZE", by_script(b"", script, control[:-1])),
        ("TAPROOT_WRONG_CONTROL_SIZE", by_script(b"", script, b"")),
        ("TAPROOT_WRONG_CONTROL_SIZE", by_script(b"", script, control + bytes(32 * 129))),
        ("SCHNORR_SIG_SIZE", by_script(bytes(63))),
        ("SCHNORR_SIG_SIZE", by_script(bytes(63), script, control)),
        ("SCHNORR_SIG_HASHTYPE", by_script(bytes(65))),
        ("SCHNORR_SIG_HASHTYPE", by_script(bytes(64) + b"\x04", script, control)),
        ("SCHNORR_SIG", by_script(bytes(64))),
        ("SCHNORR_SIG", by_script(bytes(64), script, control)),
        (
            "TAPSCRIPT_VALIDATION_WEIGHT",
            spend_script(DRAFT, "tapscript", weighty, [Sign(KEY, 0)]),
        ),
    ]
    return [Recipe(error, "tapscript", case) for error, case in spends]


def _script_sig(case: Case) -> bytes:
    return decode_transaction(case.raw).inputs[case.index].script_sig


def _with(
    case: Case, script_sig: bytes | None = None, witness: Sequence[bytes] | None = None
) -> Case:
    tx = decode_transaction(case.raw)
    txin = tx.inputs[case.index]
    one = txin.script_sig if script_sig is None else script_sig
    other = txin.witness if witness is None else witness
    return replace(case, raw=shown(tx, case.index, one, other).raw)
