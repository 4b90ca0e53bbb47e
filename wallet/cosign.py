"""What is done with a PSBT (BIP174's roles): create, sign, combine, finalize, extract."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chain.consensus.errors import InvalidError
from chain.consensus.params import Params
from chain.primitives.hashes import hash160
from chain.primitives.numbers import Amount, outpoint_txid
from chain.primitives.script import p2wpkh_key_hash
from chain.primitives.sighash import SIGHASH_ALL, SignatureHasher
from chain.primitives.signature import sign, verify
from chain.primitives.transaction import Transaction, TxOut
from wallet.account import Account, Branch
from wallet.book import Book, Place
from wallet.derivation import Node
from wallet.errors import InputError
from wallet.own import OwnScripts
from wallet.payment import Draft, prove
from wallet.psbt import (
    Fields,
    Input,
    Output,
    Psbt,
    encode_witness,
    origin_field,
    origins,
    signatures,
    witness_items,
)

_WITNESS = bytes([Input.FINAL_SCRIPTWITNESS])
_WHILE_UNSIGNED = frozenset(Input) - {
    Input.NON_WITNESS_UTXO,
    Input.WITNESS_UTXO,
    Input.FINAL_SCRIPTSIG,
    Input.FINAL_SCRIPTWITNESS,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a PSBT does, as far as this wallet can tell."""

    coins: tuple[TxOut | None, ...]  # what each input spends, if told
    own_inputs: dict[int, Place]
    own_outputs: dict[int, Place]
    is_signed: tuple[bool, ...]  # each input: finalized, or with a signature that is good
    is_proved: bool  # whether all amounts follow from previous transactions

    def is_change(self, index: int) -> bool:
        """Tell whether an output goes to an own address that is for change."""
        place = self.own_outputs.get(index)
        return place is not None and place[0] is Branch.CHANGE

    def fee(self, transaction: Transaction) -> Amount | None:
        """Return what the miner gets, if all coins are told."""
        values = [coin.value for coin in self.coins if coin is not None]
        if len(values) != len(self.coins):
            return None
        return Amount(sum(values) - transaction.output_value)


def create_psbt(draft: Draft, book: Book, account: Account) -> Psbt:
    """Return the unsigned PSBT of a draft, with all that a signer needs to check and to sign it."""
    inputs = []
    for coin in draft.coins:
        parent = book.find(outpoint_txid(coin.point))
        assert parent is not None, "a coin of the book has its transaction there"
        kind = Input.BIP32_DERIVATION
        inputs.append(
            {
                bytes([Input.NON_WITNESS_UTXO]): parent.transaction.raw,
                bytes([Input.WITNESS_UTXO]): TxOut(coin.value, coin.script).encode(),
                **dict([_own_field(kind, account, coin.place)]),
            }
        )
    places = [book.place(out.script) for out in draft.transaction.outputs]
    kind_out = Output.BIP32_DERIVATION
    outputs = [
        {} if place is None else dict([_own_field(kind_out, account, place)]) for place in places
    ]
    return Psbt(draft.transaction, {}, tuple(inputs), tuple(outputs))


def read_facts(psbt: Psbt, own: OwnScripts) -> Facts:
    """Return what a PSBT does."""
    count = len(psbt.inputs)
    coins = tuple(psbt.coin(index) for index in range(count))
    own_inputs = {
        index: place
        for index, (coin, fields) in enumerate(zip(coins, psbt.inputs, strict=True))
        if coin and (place := own.place(coin.script, origins(fields, Input.BIP32_DERIVATION)))
    }
    own_outputs = {
        index: place
        for index, (out, fields) in enumerate(
            zip(psbt.transaction.outputs, psbt.outputs, strict=True)
        )
        if (place := own.place(out.script, origins(fields, Output.BIP32_DERIVATION)))
    }
    return Facts(
        coins,
        own_inputs,
        own_outputs,
        tuple(_WITNESS in psbt.inputs[i] or _final(psbt, i) is not None for i in range(count)),
        all(psbt.proves_coin(index) for index in range(count)),
    )


def sign_psbt(psbt: Psbt, facts: Facts, key: Node) -> Psbt:
    """Return the PSBT with a signature on each own input, by keys below the account's `key`.

    Raises InputError: an own input asks for another kind of signature than of everything.
    """
    hasher = SignatureHasher(psbt.transaction)
    inputs = list(psbt.inputs)
    for index, place in facts.own_inputs.items():
        fields, coin = psbt.inputs[index], facts.coins[index]
        if _WITNESS in fields or coin is None:
            continue
        wanted = fields.get(bytes([Input.SIGHASH_TYPE]), SIGHASH_ALL.to_bytes(4, "little"))
        if int.from_bytes(wanted, "little") != SIGHASH_ALL:
            raise InputError(f"input {index} asks for a signature that leaves parts open: refused")
        node = key.descend(*place)
        public = node.public_key
        digest = hasher.hash(index, hash160(public), coin.value, SIGHASH_ALL)
        signature = sign(node.private_key, digest) + bytes([SIGHASH_ALL])
        inputs[index] = {**fields, bytes([Input.PARTIAL_SIG]) + public: signature}
    return replace(psbt, inputs=tuple(inputs))


def combine_psbts(psbts: Sequence[Psbt]) -> Psbt:
    """Return all that any of the PSBTs knows; where they differ, the first one counts.

    Raises InputError: they are of different transactions.
    """
    first = psbts[0]
    if any(each.transaction != first.transaction for each in psbts):
        raise InputError("these PSBTs are of different transactions")
    return Psbt(
        first.transaction,
        _merge([each.fields for each in psbts]),
        tuple(_merge(maps) for maps in zip(*(each.inputs for each in psbts), strict=True)),
        tuple(_merge(maps) for maps in zip(*(each.outputs for each in psbts), strict=True)),
    )


def finalize_psbt(psbt: Psbt) -> Psbt:
    """Return the PSBT with every input's witness made from its signature.

    Raises InputError: an input lacks a good signature.
    """
    inputs = []
    for index, fields in enumerate(psbt.inputs):
        if _WITNESS in fields:
            inputs.append(fields)
            continue
        witness = _final(psbt, index)
        if witness is None:
            raise InputError(
                f"input {index} lacks a signature: psbt sign it with the wallet it is of"
            )
        kept = {key: value for key, value in fields.items() if key[0] not in _WHILE_UNSIGNED}
        inputs.append({**kept, _WITNESS: encode_witness(witness)})
    return replace(psbt, inputs=tuple(inputs))


def extract(psbt: Psbt, params: Params) -> Transaction:
    """Return the signed transaction of a finalized PSBT, which has passed the consensus rules.

    Raises InputError: not finalized, a coin is not told, or a rule is broken.
    """
    unsigned = psbt.transaction
    coins = [psbt.coin(index) for index in range(len(psbt.inputs))]
    told = [coin for coin in coins if coin is not None]
    if len(told) != len(coins) or not all(_WITNESS in fields for fields in psbt.inputs):
        raise InputError("the PSBT is not complete: sign and finalize it first")
    inputs = [
        replace(
            txin,
            script_sig=fields.get(bytes([Input.FINAL_SCRIPTSIG]), b""),
            witness=witness_items(fields[_WITNESS]),
        )
        for txin, fields in zip(unsigned.inputs, psbt.inputs, strict=True)
    ]
    signed = Transaction(unsigned.version, inputs, unsigned.outputs, unsigned.lock_time)
    try:
        prove(signed, told, params)
    except InvalidError as error:
        raise InputError(f"the signed transaction is not valid: {error.reject_reason}") from None
    return signed


def _own_field(kind: int, account: Account, place: Place) -> tuple[bytes, bytes]:
    return origin_field(kind, account.public_key(*place), account.key_origin(*place))


def _final(psbt: Psbt, index: int) -> tuple[bytes, bytes] | None:
    """Return the witness that an input's signatures make, if one of them is good."""
    coin = psbt.coin(index)
    key_hash = None if coin is None else p2wpkh_key_hash(coin.script)
    if coin is None or key_hash is None:
        return None
    hasher = SignatureHasher(psbt.transaction)
    for public, signature in signatures(psbt.inputs[index]).items():
        if hash160(public) == key_hash and len(public) == 33 and signature[-1] == SIGHASH_ALL:
            digest = hasher.hash(index, key_hash, coin.value, SIGHASH_ALL)
            if verify(public, signature[:-1], digest):
                return signature, public
    return None


def _merge(maps: Sequence[Fields]) -> Fields:
    merged: dict[bytes, bytes] = {}
    for fields in maps:
        merged = {**fields, **merged}
    return merged
