"""Every error that consensus can give is given, in every context that can give it."""

import pytest

from chain.script.errors import ScriptError
from chain.script.flags import CONSENSUS
from tests.script.engines import btclib, groat
from tests.script.kernel_process import Kernel
from tests.script.locks import CONTEXTS
from tests.script.recipes import recipes

POLICY = {
    "SIG_HASHTYPE",
    "MINIMALDATA",
    "SIG_HIGH_S",
    "PUBKEYTYPE",
    "MINIMALIF",
    "NULLFAIL",
    "DISCOURAGE_UPGRADABLE_NOPS",
    "DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM",
    "DISCOURAGE_UPGRADABLE_TAPROOT_VERSION",
    "DISCOURAGE_OP_SUCCESS",
    "DISCOURAGE_UPGRADABLE_PUBKEYTYPE",
    "WITNESS_PUBKEYTYPE",
    "OP_CODESEPARATOR",
    "SIG_FINDANDDELETE",
}
EVERYWHERE = {
    "EVAL_FALSE",
    "OP_RETURN",
    "SCRIPTNUM",
    "PUSH_SIZE",
    "STACK_SIZE",
    "VERIFY",
    "EQUALVERIFY",
    "CHECKSIGVERIFY",
    "NUMEQUALVERIFY",
    "BAD_OPCODE",
    "INVALID_STACK_OPERATION",
    "INVALID_ALTSTACK_OPERATION",
    "UNBALANCED_CONDITIONAL",
    "NEGATIVE_LOCKTIME",
    "UNSATISFIED_LOCKTIME",
}
BEFORE_TAPSCRIPT = {
    "SCRIPT_SIZE",
    "OP_COUNT",
    "SIG_COUNT",
    "PUBKEY_COUNT",
    "CHECKMULTISIGVERIFY",
    "DISABLED_OPCODE",
    "SIG_DER",
    "SIG_NULLDUMMY",
}
IN_WITNESS = {
    "CLEANSTACK",
    "WITNESS_PROGRAM_WITNESS_EMPTY",
    "WITNESS_PROGRAM_MISMATCH",
}
IN_V0 = EVERYWHERE | BEFORE_TAPSCRIPT | IN_WITNESS | {"WITNESS_PROGRAM_WRONG_LENGTH"}
REACHABLE = {
    "base": EVERYWHERE | BEFORE_TAPSCRIPT | {"WITNESS_UNEXPECTED"},
    "p2sh": EVERYWHERE | BEFORE_TAPSCRIPT | {"WITNESS_UNEXPECTED", "SIG_PUSHONLY"},
    "v0": IN_V0 | {"WITNESS_MALLEATED"},
    "wrapped_v0": IN_V0 | {"WITNESS_MALLEATED_P2SH", "SIG_PUSHONLY"},
    "tapscript": EVERYWHERE
    | IN_WITNESS
    | {
        "WITNESS_MALLEATED",
        "SCHNORR_SIG_SIZE",
        "SCHNORR_SIG_HASHTYPE",
        "SCHNORR_SIG",
        "TAPROOT_WRONG_CONTROL_SIZE",
        "TAPSCRIPT_VALIDATION_WEIGHT",
        "TAPSCRIPT_CHECKMULTISIG",
        "TAPSCRIPT_MINIMALIF",
        "TAPSCRIPT_EMPTY_PUBKEY",
    },
}


@pytest.fixture(scope="module")
def made():
    return recipes()


def test_every_error_is_consensus_or_policy():
    consensus = set().union(*REACHABLE.values())
    assert consensus | POLICY == set(ScriptError.__members__)
    assert not consensus & POLICY


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_error_of_consensus_is_reached(context, made):
    mine = [recipe for recipe in made if recipe.context == context]
    for recipe in mine:
        assert groat(recipe.case, CONSENSUS) == recipe.error
    assert {recipe.error for recipe in mine} == REACHABLE[context]


def test_btclib_gives_the_same_errors(made):
    for recipe in made:
        assert btclib(recipe.case, CONSENSUS) == recipe.error, recipe.context


def test_the_kernel_refuses_them_too(made):
    pytest.importorskip("pbk", reason="py-bitcoinkernel is not installed")
    with Kernel() as kernel:
        assert not any(kernel.ask([recipe.case for recipe in made]))
