"""Payments: from an order to a signed and checked transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from chain.consensus.coin import Coin
from chain.consensus.params import Params
from chain.consensus.spend import spend_checks, verify_checks
from chain.consensus.transaction import check_inputs, check_transaction
from chain.primitives.dust import dust_threshold
from chain.primitives.extended_key import ExtendedKey
from chain.primitives.hashes import hash160
from chain.primitives.numbers import Amount, Height
from chain.primitives.sighash import SIGHASH_ALL, SignatureHasher
from chain.primitives.signature import sign
from chain.primitives.transaction import WITNESS_SCALE, Transaction, TxIn, TxOut
from wallet.amounts import groat_text
from wallet.errors import FundsError, InputError
from wallet.fees import RATE_SCALE, FeeRate
from wallet.history.book import WalletCoin
from wallet.spend.selection import DUST, INPUTS_MAX, goal_for, is_worth_spending, select

_VERSION: Final = 2
_SEQUENCE: Final = 0xFFFFFFFD  # can be replaced (BIP125), and lets the lock time count


@dataclass(frozen=True, slots=True)
class PaymentOrder:
    """The outputs and options of a payment."""

    outputs: tuple[TxOut, ...]
    rest_to: bytes | None  # the script that gets everything else ("max"), instead of change
    feerate: FeeRate
    coins: tuple[WalletCoin, ...] = ()  # if any: spend exactly these


@dataclass(frozen=True, slots=True)
class Draft:
    """A complete but unsigned payment."""

    transaction: Transaction
    coins: tuple[WalletCoin, ...]  # the coins it spends, in input order
    change_at: int | None  # the index of the change output
    feerate: FeeRate

    @property
    def change(self) -> Amount:
        """The amount of change; 0 without change."""
        at = self.change_at
        return Amount(0) if at is None else self.transaction.outputs[at].value

    @property
    def payments(self) -> tuple[TxOut, ...]:
        """All outputs but change."""
        outputs = enumerate(self.transaction.outputs)
        return tuple(out for at, out in outputs if at != self.change_at)

    @property
    def fee(self) -> Amount:
        """The fee."""
        return Amount(sum(coin.value for coin in self.coins) - self.transaction.output_value)

    @property
    def paid(self) -> Amount:
        """The sum of all outputs but change."""
        return Amount(self.transaction.output_value - self.change)


def draft_payment(
    order: PaymentOrder,
    coins: Sequence[WalletCoin],
    change_script: bytes,
    tip: Height,
    random: Random,
) -> Draft:
    """Return a draft that fulfils the order with spendable coins of `coins`.

    Confirmed coins come first, own unconfirmed change only if they are not enough; if the order
    names coins, exactly those are spent. The lock time is the tip's height, so that
    re-mining the tip's block for its fees gains nothing (fee sniping).
    Raises InputError: an output is dust; FundsError.
    """
    for out in order.outputs:
        least = dust_threshold(out.script)
        if out.value < least:
            raise InputError(
                f"{groat_text(out.value)} is too little to send: the least is {groat_text(least)}"
            )
    spendable = order.coins or [coin for coin in coins if coin.is_spendable]
    if order.rest_to is not None:
        return _draft_rest(order, spendable, order.rest_to, tip, random)
    if order.coins:
        return _draft_all(order, change_script, tip, random)
    confirmed = [coin for coin in spendable if coin.height is not None]
    try:
        return _draft_exact(order, confirmed, change_script, tip, random)
    except FundsError:
        return _draft_exact(order, spendable, change_script, tip, random)


def make_draft(
    coins: Sequence[WalletCoin],
    outputs: Sequence[TxOut],
    change_at: int | None,
    feerate: FeeRate,
    tip: Height,
) -> Draft:
    """Return the draft of a replaceable transaction with the tip's height as lock time."""
    inputs = [TxIn(coin.point, sequence=_SEQUENCE) for coin in coins]
    transaction = Transaction(_VERSION, inputs, outputs, lock_time=tip)
    return Draft(transaction, tuple(coins), change_at, feerate)


def expected_vsize(transaction: Transaction) -> int:
    """Return the virtual size that a transaction will have when its inputs are signed."""
    goal = goal_for(transaction.outputs, FeeRate(0))
    return -(-goal.weight(len(transaction.inputs), change=False) // WITNESS_SCALE)


def expected_feerate(transaction: Transaction, fee: int) -> FeeRate:
    """Return the fee rate that a transaction will pay when it is signed, rounded down."""
    return FeeRate(fee * RATE_SCALE // expected_vsize(transaction))


def sign_draft(draft: Draft, key: ExtendedKey, params: Params) -> Transaction:
    """Return the draft's transaction signed with keys below the account's private `key`.

    The result has passed the consensus rules, signatures included. Raises InvalidError or
    RuntimeError if it does not, which means a bug or broken hardware.
    """
    unsigned = draft.transaction
    hasher = SignatureHasher(unsigned)
    inputs = []
    for index, coin in enumerate(draft.coins):
        node = key.descend(*coin.key_index)
        public = node.public_key
        digest = hasher.hash(index, hash160(public), coin.value, SIGHASH_ALL)
        signature = sign(node.private_key, digest) + bytes([SIGHASH_ALL])
        inputs.append(replace(unsigned.inputs[index], witness=(signature, public)))
    signed = Transaction(unsigned.version, inputs, unsigned.outputs, unsigned.lock_time)
    fee = prove(signed, [TxOut(coin.value, coin.script) for coin in draft.coins], params)
    if fee != draft.fee:
        raise RuntimeError("the signed transaction pays another fee: nothing was sent")
    return signed


def _draft_exact(
    order: PaymentOrder,
    coins: Sequence[WalletCoin],
    change_script: bytes,
    tip: Height,
    random: Random,
) -> Draft:
    goal = goal_for(order.outputs, order.feerate)
    chosen = [coins[index] for index in select([coin.value for coin in coins], goal, random)]
    return _with_change(order, chosen, change_script, tip, random)


def _draft_all(order: PaymentOrder, change_script: bytes, tip: Height, random: Random) -> Draft:
    goal = goal_for(order.outputs, order.feerate)
    total = sum(coin.value for coin in order.coins)
    if not goal.suffices(total, len(order.coins)):
        fee = goal.fee(len(order.coins), change=False)
        raise FundsError(
            f"not enough: {groat_text(goal.paid)} and a fee of {groat_text(fee)} are needed, the "
            f"named coins have {groat_text(total)}: name more of them, or none"
        )
    return _with_change(order, order.coins, change_script, tip, random)


def _with_change(
    order: PaymentOrder,
    chosen: Sequence[WalletCoin],
    change_script: bytes,
    tip: Height,
    random: Random,
) -> Draft:
    """Return the draft that spends `chosen`, with change if it is worth an output."""
    goal = goal_for(order.outputs, order.feerate)
    change = goal.change(sum(coin.value for coin in chosen), len(chosen))
    if change < DUST:
        return make_draft(chosen, order.outputs, None, order.feerate, tip)
    outputs = list(order.outputs)
    place = random.randint(0, len(outputs))  # change must not always be the last output
    outputs.insert(place, TxOut(Amount(change), change_script))
    return make_draft(chosen, outputs, place, order.feerate, tip)


def _draft_rest(
    order: PaymentOrder, coins: Sequence[WalletCoin], script: bytes, tip: Height, random: Random
) -> Draft:
    chosen = [coin for coin in coins if order.coins or is_worth_spending(coin.value, order.feerate)]
    if not chosen:
        raise FundsError("there is nothing that can be spent now")
    if len(chosen) > INPUTS_MAX:
        largest = sum(sorted((coin.value for coin in chosen), reverse=True)[:INPUTS_MAX])
        raise FundsError(
            f"max would take over {INPUTS_MAX} coins: first pay amounts below {groat_text(largest)}"
        )
    random.shuffle(chosen)
    goal = goal_for([*order.outputs, TxOut(Amount(0), script)], order.feerate)
    total = sum(coin.value for coin in chosen)
    rest = total - goal.paid - goal.fee(len(chosen), change=False)
    if rest < dust_threshold(script):
        raise FundsError(f"not enough: {groat_text(total)} can be spent now, and no more is left")
    outputs = [*order.outputs, TxOut(Amount(rest), script)]
    return make_draft(chosen, outputs, None, order.feerate, tip)


def prove(signed: Transaction, spent: Sequence[TxOut], params: Params) -> Amount:
    """Verify a signed transaction like a node, except for the coins' existence; return the fee.

    Raises InvalidError: a rule is broken, or a signature wrong.
    """
    height = Height(signed.lock_time + 1)
    coins = [Coin(out.value, out.script, height, from_coinbase=False) for out in spent]
    check_transaction(signed, params)
    fee = check_inputs(signed, coins, height, params)
    verify_checks(spend_checks(signed, coins))
    return fee
