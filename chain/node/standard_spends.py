"""Which coins may be spent, and how: the part of policy that looks at coins and runs scripts.

What is not known to be standard is refused: its rules could be tightened by a soft fork, or its
checks be slow.
"""

from collections.abc import Sequence
from typing import Final

from chain.consensus.coin import Coin
from chain.consensus.errors import InvalidError
from chain.consensus.spend import verify_input
from chain.node.policy import PolicyError, PolicyReason
from chain.primitives.numbers import Hash32
from chain.primitives.script import (
    OP_1,
    OP_1NEGATE,
    OP_16,
    OP_PUSHDATA4,
    count_sigops,
    is_p2sh,
    is_p2wpkh,
    operations,
    witness_program,
)
from chain.primitives.solver import OutputType, output_type
from chain.primitives.transaction import Transaction, TxIn
from chain.script.checks import Checker, DirectChecker
from chain.script.errors import ScriptVerifyError
from chain.script.flags import STANDARD
from chain.script.hashes import TransactionHashes
from chain.script.machine import ITEM_BYTES_MAX, STACK_ITEMS_MAX
from chain.script.spend import verify_spend
from chain.script.taproot import ANNEX_TAG, TAPSCRIPT_LEAF, leaf_version

REDEEM_SIGOPS_MAX: Final = 15  # Bitcoin: MAX_P2SH_SIGOPS
LEGACY_SIGOPS_MAX: Final = 2_500  # of a transaction (BIP54; Bitcoin: MAX_TX_LEGACY_SIGOPS)
SIGOPS_COST_MAX: Final = 16_000  # Bitcoin: MAX_STANDARD_TX_SIGOPS_COST
WITNESS_SCRIPT_BYTES_MAX: Final = 3_600  # of P2WSH (MAX_STANDARD_P2WSH_SCRIPT_SIZE)
WITNESS_ITEMS_MAX: Final = 100  # of P2WSH, besides the script
WITNESS_ITEM_BYTES_MAX: Final = 80  # of P2WSH and tapscript, besides script and control block
_NEVER_SPENT: Final = frozenset({OutputType.NONSTANDARD, OutputType.WITNESS_UNKNOWN})


class _VerifiedChecker:
    """Takes every signature for valid: for scripts with one check, which was verified before."""

    def ecdsa(self, key: bytes, signature: bytes, digest: Hash32, *, is_decisive: bool) -> bool:
        del key, signature, digest, is_decisive
        return True

    def schnorr(self, key: bytes, signature: bytes, digest: Hash32) -> bool:
        del key, signature, digest
        return True


def check_standard_spends(transaction: Transaction, coins: Sequence[Coin]) -> None:
    """Check that the inputs spend coins of standard types, with standard scripts and witnesses.

    Raises PolicyError: INPUTS_NONSTANDARD (Bitcoin: ValidateInputsStandardness), then
    WITNESS_NONSTANDARD (IsWitnessStandard).
    """
    spends = list(zip(transaction.inputs, coins, strict=True))
    if sum(_legacy_sigops(txin, coin.script) for txin, coin in spends) > LEGACY_SIGOPS_MAX:
        raise PolicyError(PolicyReason.INPUTS_NONSTANDARD)
    if not all(_is_standard_input(txin, coin.script) for txin, coin in spends):
        raise PolicyError(PolicyReason.INPUTS_NONSTANDARD)
    if not all(_is_standard_witness(txin, coin.script) for txin, coin in spends):
        raise PolicyError(PolicyReason.WITNESS_NONSTANDARD)


def check_sigops_cost(cost: int) -> None:
    """Check a transaction's whole cost. Raises PolicyError: SIGOPS."""
    if cost > SIGOPS_COST_MAX:
        raise PolicyError(PolicyReason.SIGOPS, str(cost))


def check_scripts(transaction: Transaction, coins: Sequence[Coin], *, is_verified: bool) -> None:
    """Run all scripts under the standard flags; what passes is valid in a block, too.

    `is_verified`: it was valid in a block, so P2WPKH's signatures are not verified again. Other
    scripts may hold signatures that are wrong on purpose. Raises PolicyError: SCRIPT; it says
    which input fails, which is then run once more, and whether it is also invalid in a block
    (Bitcoin: PolicyScriptChecks).
    """
    hashes = TransactionHashes(transaction, coins)
    for index, coin in enumerate(coins):
        trusts = is_verified and is_p2wpkh(coin.script)
        checker: Checker = _VerifiedChecker() if trusts else DirectChecker()
        try:
            verify_spend(hashes, index, STANDARD, checker)
        except ScriptVerifyError as error:
            is_invalid = not _is_valid_in_a_block(hashes, index)
            detail = str(error.error)
            raise PolicyError(
                PolicyReason.SCRIPT, detail, is_invalid=is_invalid, failed_input=index
            ) from None


def _is_valid_in_a_block(hashes: TransactionHashes, index: int) -> bool:
    try:
        verify_input(hashes, index)
    except InvalidError:
        return False
    return True


def _legacy_sigops(txin: TxIn, script: bytes) -> int:
    """Return the signature operations that may run without witness rules (BIP54)."""
    if not txin.script_sig and is_p2wpkh(script):
        return 0  # the usual case
    count = count_sigops(txin.script_sig, accurate=True)
    if is_p2sh(script):
        script = _redeem_script(txin.script_sig) or b""
    return count + count_sigops(script, accurate=True)


def _is_standard_input(txin: TxIn, script: bytes) -> bool:
    kind = output_type(script)
    if kind is OutputType.SCRIPTHASH:
        redeem_script = _redeem_script(txin.script_sig)
        if redeem_script is None:
            return False
        return count_sigops(redeem_script, accurate=True) <= REDEEM_SIGOPS_MAX
    return kind not in _NEVER_SPENT


def _is_standard_witness(txin: TxIn, script: bytes) -> bool:
    witness = txin.witness
    if not witness:
        return True
    kind = output_type(script)
    if kind is OutputType.SCRIPTHASH:
        script = _redeem_script(txin.script_sig) or b""
        kind = output_type(script)
        if kind is OutputType.WITNESS_V1_TAPROOT:
            return True  # has no meaning in P2SH; the standard flags refuse it
    if kind is OutputType.ANCHOR or witness_program(script) is None:
        return False
    if kind is OutputType.WITNESS_V0_SCRIPTHASH:
        *items, witness_script = witness
        return (
            len(witness_script) <= WITNESS_SCRIPT_BYTES_MAX
            and len(items) <= WITNESS_ITEMS_MAX
            and _are_short(items)
        )
    return kind is not OutputType.WITNESS_V1_TAPROOT or _is_standard_taproot(witness)


def _is_standard_taproot(witness: Sequence[bytes]) -> bool:
    if len(witness) == 1:
        return True
    *items, _script, control = witness
    if control.startswith(bytes([ANNEX_TAG])) or not control:
        return False
    return leaf_version(control) != TAPSCRIPT_LEAF or _are_short(items)


def _are_short(items: Sequence[bytes]) -> bool:
    return all(len(item) <= WITNESS_ITEM_BYTES_MAX for item in items)


def _redeem_script(script_sig: bytes) -> bytes | None:
    """Return the item that a script of pushes leaves on top, or None if it cannot run."""
    item, count = None, 0
    for opcode, data in operations(script_sig):
        item, count = _pushed(opcode, data), count + 1
        if item is None or len(item) > ITEM_BYTES_MAX or count > STACK_ITEMS_MAX:
            return None
    return item


def _pushed(opcode: int, data: bytes | None) -> bytes | None:
    if opcode <= OP_PUSHDATA4:
        return data
    if OP_1 <= opcode <= OP_16:
        return bytes([opcode - OP_1 + 1])
    return b"\x81" if opcode == OP_1NEGATE else None
