"""Operations on a PSBT (BIP174's roles): create, sign, combine, finalize, extract."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chain.consensus.errors import InvalidError
from chain.consensus.params import Params
from chain.primitives import psbt_roles
from chain.primitives.extended_key import ExtendedKey
from chain.primitives.hashes import hash160
from chain.primitives.numbers import Amount, outpoint_txid
from chain.primitives.psbt import Input, Output, Psbt, PsbtError, origin_field, origins
from chain.primitives.psbt_roles import (
    WITNESS,
    OtherTransactionError,
    combine,
    finalize_input,
    good_witness,
)
from chain.primitives.sighash import SIGHASH_ALL, SignatureHasher
from chain.primitives.signature import sign
from chain.primitives.transaction import Transaction, TxOut
from wallet.errors import InputError
from wallet.history.book import Book, KeyIndex
from wallet.keys.account import Account, Keychain
from wallet.psbt.ownership import WalletScripts
from wallet.spend.payment import Draft, prove


@dataclass(frozen=True, slots=True)
class PsbtFacts:
    """A PSBT's effect, as far as this wallet knows."""

    coins: tuple[TxOut | None, ...]  # the coin of each input, if known
    own_inputs: dict[int, KeyIndex]
    own_outputs: dict[int, KeyIndex]
    far_outputs: frozenset[int]  # own ones beyond this wallet's scan
    is_signed: tuple[bool, ...]  # for each input: whether it has a valid signature
    is_proved: bool  # whether all amounts follow from previous transactions
    is_own_proved: bool  # the same for the own inputs only

    def is_change(self, index: int) -> bool:
        """Return whether an output goes to an own change address."""
        key_index = self.own_outputs.get(index)
        return key_index is not None and key_index[0] is Keychain.CHANGE

    def fee(self, transaction: Transaction) -> Amount | None:
        """Return the fee, if all coins are known."""
        values = [coin.value for coin in self.coins if coin is not None]
        if len(values) != len(self.coins):
            return None
        return Amount(sum(values) - transaction.output_value)


def create_psbt(draft: Draft, book: Book, account: Account) -> Psbt:
    """Return the unsigned PSBT of a draft, with everything a signer needs to check and sign it."""
    inputs = []
    for coin in draft.coins:
        parent = book.find(outpoint_txid(coin.point))
        assert parent is not None, "a coin of the book has its transaction there"
        kind = Input.BIP32_DERIVATION
        inputs.append(
            {
                bytes([Input.NON_WITNESS_UTXO]): parent.transaction.raw,
                bytes([Input.WITNESS_UTXO]): TxOut(coin.value, coin.script).encode(),
                **dict([_own_field(kind, account, coin.key_index)]),
            }
        )
    key_indexes = [book.key_index(out.script) for out in draft.transaction.outputs]
    kind_out = Output.BIP32_DERIVATION
    outputs = [
        {} if key_index is None else dict([_own_field(kind_out, account, key_index)])
        for key_index in key_indexes
    ]
    return Psbt(draft.transaction, {}, tuple(inputs), tuple(outputs))


def read_facts(psbt: Psbt, own: WalletScripts) -> PsbtFacts:
    """Return a PSBT's effect."""
    count = len(psbt.inputs)
    coins = tuple(psbt.coin(index) for index in range(count))
    own_inputs = {
        index: key_index
        for index, (coin, fields) in enumerate(zip(coins, psbt.inputs, strict=True))
        if coin
        and (key_index := own.key_index(coin.script, origins(fields, Input.BIP32_DERIVATION)))
    }
    own_outputs = {
        index: key_index
        for index, (out, fields) in enumerate(
            zip(psbt.transaction.outputs, psbt.outputs, strict=True)
        )
        if (key_index := own.key_index(out.script, origins(fields, Output.BIP32_DERIVATION)))
    }
    hasher = SignatureHasher(psbt.transaction)
    return PsbtFacts(
        coins,
        own_inputs,
        own_outputs,
        frozenset(index for index, key_index in own_outputs.items() if not own.is_near(key_index)),
        tuple(good_witness(psbt, index, hasher) is not None for index in range(count)),
        all(psbt.proves_coin(index) for index in range(count)),
        all(psbt.proves_coin(index) for index in own_inputs),
    )


def sign_psbt(psbt: Psbt, facts: PsbtFacts, key: ExtendedKey) -> Psbt:
    """Return the PSBT with a signature on each own input, by keys below the account's `key`.

    Raises InputError: an own input asks for a hash type other than SIGHASH_ALL.
    """
    hasher = SignatureHasher(psbt.transaction)
    inputs = list(psbt.inputs)
    for index, key_index in facts.own_inputs.items():
        fields, coin = psbt.inputs[index], facts.coins[index]
        if WITNESS in fields or coin is None:
            continue
        wanted = fields.get(bytes([Input.SIGHASH_TYPE]), SIGHASH_ALL.to_bytes(4, "little"))
        if int.from_bytes(wanted, "little") != SIGHASH_ALL:
            raise InputError(f"input {index} asks for a hash type other than SIGHASH_ALL: refused")
        node = key.descend(*key_index)
        public = node.public_key
        digest = hasher.hash(index, hash160(public), coin.value, SIGHASH_ALL)
        signature = sign(node.private_key, digest) + bytes([SIGHASH_ALL])
        inputs[index] = {**fields, bytes([Input.PARTIAL_SIG]) + public: signature}
    return replace(psbt, inputs=tuple(inputs))


def combine_psbts(psbts: Sequence[Psbt]) -> Psbt:
    """Return the union of the PSBTs' fields; where they differ, the first one counts.

    Raises InputError: they are of different transactions, or contradict each other about a coin.
    """
    try:
        return combine(psbts)
    except OtherTransactionError as error:
        raise InputError(str(error)) from None
    except PsbtError as error:
        raise InputError(f"these PSBTs contradict each other: {error}") from None


def finalize_psbt(psbt: Psbt) -> Psbt:
    """Return the PSBT with every input's witness made from its signature.

    Raises InputError: an input lacks a good signature.
    """
    inputs = []
    hasher = SignatureHasher(psbt.transaction)
    for index, fields in enumerate(psbt.inputs):
        if WITNESS in fields:
            inputs.append(fields)
            continue
        witness = good_witness(psbt, index, hasher)
        if witness is None:
            raise InputError(
                f"input {index} lacks a signature: sign it first (psbt sign, with the key's wallet)"
            )
        inputs.append(finalize_input(fields, witness))
    return replace(psbt, inputs=tuple(inputs))


def extract(psbt: Psbt, params: Params) -> Transaction:
    """Return the signed transaction of a finalized PSBT, which has passed the consensus rules.

    Raises InputError: not finalized, a coin is unknown, or a rule is broken.
    """
    coins = [psbt.coin(index) for index in range(len(psbt.inputs))]
    known = [coin for coin in coins if coin is not None]
    if len(known) != len(coins) or not all(WITNESS in fields for fields in psbt.inputs):
        raise InputError("the PSBT is not complete: sign and finalize it first")
    signed = psbt_roles.extract(psbt)
    try:
        prove(signed, known, params)
    except InvalidError as error:
        raise InputError(f"the signed transaction is not valid: {error.reject_reason}") from None
    return signed


def _own_field(kind: int, account: Account, key_index: KeyIndex) -> tuple[bytes, bytes]:
    return origin_field(kind, account.public_key(*key_index), account.key_origin(*key_index))
