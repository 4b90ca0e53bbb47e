"""The rules for spending each kind of output script.

A new kind needs a function here, a line in `_spend_rule`, and a field of Params with the height
from which it is active: it is a hard fork, as blocks become valid that were refused before.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chain.consensus.coin import Coin
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.params import Params
from chain.primitives.hashes import hash160
from chain.primitives.numbers import Hash32
from chain.primitives.script import is_p2wpkh
from chain.primitives.sighash import SignatureHasher
from chain.primitives.signature import is_strict_der
from chain.primitives.transaction import Transaction

_ZEROS: Final = bytes(19)
_ELEMENT_BYTES_MAX: Final = 520  # Bitcoin: MAX_SCRIPT_ELEMENT_SIZE

# Bitcoin: ScriptErrorString, for the failures that a P2WPKH spend can have.
_FALSE: Final = "Script evaluated without error but finished with a false/empty top stack element"
_MISMATCH: Final = "Witness program hash mismatch"
_SCRIPT_SIG: Final = "Witness requires empty scriptSig"
_ELEMENT: Final = "Push value size limit exceeded"
_KEY_HASH: Final = "Script failed an OP_EQUALVERIFY operation"
_NOT_DER: Final = "Non-canonical DER signature"
_UNKNOWN_KIND: Final = "groat knows no way to spend this kind of output"


@dataclass(slots=True, unsafe_hash=True)
class SignatureCheck:
    """A signature to be verified: the arguments of `signature.verify`."""

    key: Final[bytes]
    signature: Final[bytes]  # DER, without the hash type
    digest: Final[Hash32]


SpendRule = Callable[[Transaction, int, Coin, SignatureHasher], SignatureCheck]


def spend_checks(
    transaction: Transaction, coins: Sequence[Coin], height: int, params: Params
) -> Iterator[SignatureCheck]:
    """Yield the signature checks of the spends of `coins`, in input order.

    The spends are valid if and only if each check verifies. Raises InvalidError: SCRIPT, after the
    checks of the earlier inputs, if no signature could make a spend valid.
    """
    hasher = SignatureHasher(transaction)
    for index, coin in enumerate(coins):
        yield _spend_rule(coin, height, params)(transaction, index, coin, hasher)


def signature_failed() -> InvalidError:
    """Return the error for a check that did not verify."""
    return InvalidError(Reason.SCRIPT, _FALSE)


def _spend_rule(coin: Coin, height: int, params: Params) -> SpendRule:
    if is_p2wpkh(coin.script) and height >= params.p2wpkh_height:
        return _p2wpkh
    raise InvalidError(Reason.SCRIPT, _UNKNOWN_KIND)


def _p2wpkh(
    transaction: Transaction, index: int, coin: Coin, hasher: SignatureHasher
) -> SignatureCheck:
    """Pay to witness public key hash (BIP141, BIP143): signature and key, nothing else."""
    txin = transaction.inputs[index]
    key_hash = coin.script[2:]
    if key_hash[:-1] == _ZEROS and key_hash[-1] in {0, 0x80}:
        raise InvalidError(Reason.SCRIPT, _FALSE)  # leaves a zero on the stack
    if txin.script_sig:
        raise InvalidError(Reason.SCRIPT, _SCRIPT_SIG)
    if len(txin.witness) != 2:
        raise InvalidError(Reason.SCRIPT, _MISMATCH)
    signature, key = txin.witness
    if len(signature) > _ELEMENT_BYTES_MAX or len(key) > _ELEMENT_BYTES_MAX:
        raise InvalidError(Reason.SCRIPT, _ELEMENT)
    if hash160(key) != key_hash:
        raise InvalidError(Reason.SCRIPT, _KEY_HASH)
    if not signature:
        raise InvalidError(Reason.SCRIPT, _FALSE)
    der = signature[:-1]
    if not is_strict_der(der):
        raise InvalidError(Reason.SCRIPT, _NOT_DER)
    return SignatureCheck(key, der, hasher.hash(index, key_hash, coin.value, signature[-1]))
