"""Fee bumping: replacement at a higher fee (BIP125), or a child that pays for its parent."""

from collections.abc import Sequence
from dataclasses import dataclass

from chain.consensus.errors import InvalidError
from chain.consensus.params import Params
from chain.primitives.numbers import Amount, Hash32, Height, id_text, outpoint, outpoint_txid
from chain.primitives.transaction import WITNESS_SCALE, Transaction, TxOut
from wallet.amounts import groat_text
from wallet.errors import FundsError, InputError
from wallet.fees import RATE_FLOOR, RATE_SCALE, FeeRate, fee_for, feerate_text
from wallet.history.book import Book, WalletCoin
from wallet.keys.account import Keychain
from wallet.spend.payment import Draft, make_draft, prove
from wallet.spend.selection import DUST, INPUTS_MAX, Goal, goal_for, is_worth_spending


@dataclass(frozen=True, slots=True)
class AncestorPackage:
    """An unconfirmed transaction with its unconfirmed ancestors."""

    fee: Amount
    vsize: int

    @property
    def feerate(self) -> FeeRate:
        """Its current fee rate, rounded down."""
        return FeeRate(self.fee * RATE_SCALE // self.vsize)


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a replacement drops: a payment, and transactions of others that spend from it."""

    txid: Hash32
    descendant_fees: Amount
    descendants: int


def draft_bump(
    replaced: Replaced,
    feerate: FeeRate,
    book: Book,
    coins: Sequence[WalletCoin],
    change_script: bytes,
) -> Draft:
    """Return a payment that replaces another at a higher fee rate; recipients get the same.

    The change gets less; if that is not enough, confirmed ones of `coins` are added, largest first.
    Raises InputError: not one that can be replaced, or the rate is too low for it; FundsError.
    """
    old, spent = _replaceable(replaced.txid, book)
    change_at = _change_output(old, book)
    payments = [out for at, out in enumerate(old.outputs) if at != change_at]
    old_fee = sum(coin.value for coin in spent) - old.output_value
    bump = _Bump(
        goal_for(payments, feerate), old_fee + replaced.descendant_fees, replaced.descendants
    )
    bump.check(len(spent), change=change_at is not None)
    more = [
        coin
        for coin in sorted(coins, key=lambda coin: coin.value, reverse=True)
        if coin.is_spendable and coin.height is not None and is_worth_spending(coin.value, feerate)
    ]
    chosen, change = bump.fund(spent, more[: INPUTS_MAX - len(spent)])
    if change is None:
        return make_draft(chosen, payments, None, feerate, book.tip_height)
    place = len(payments) if change_at is None else change_at
    script = change_script if change_at is None else old.outputs[change_at].script
    outputs = [*payments[:place], TxOut(change, script), *payments[place:]]
    return make_draft(chosen, outputs, place, feerate, book.tip_height)


def check_replaceable(txid: Hash32, book: Book) -> None:
    """Raise InputError unless `txid` is an own unconfirmed payment, without own descendants."""
    _replaceable(txid, book)


def replaceable_feerate(replaced: Replaced, book: Book) -> FeeRate:
    """Return the fee rate, rounded up, at which a replacement pays no more than what it drops.

    Raises InputError: the payment cannot be replaced.
    """
    old, spent = _replaceable(replaced.txid, book)
    fee = sum(coin.value for coin in spent) - old.output_value + replaced.descendant_fees
    return FeeRate(-(-fee * RATE_SCALE // old.vsize))


def draft_child(
    txid: Hash32,
    feerate: FeeRate,
    package: AncestorPackage,
    coins: Sequence[WalletCoin],
    destination: tuple[bytes, Height],
) -> Draft:
    """Return a payment to this wallet itself that spends what `txid` pays it.

    With its fee, it and the package of `txid` together pay `feerate`; `destination` is the script
    to pay to and the tip's height. Raises InputError: nothing to spend, or no need; FundsError.
    """
    if package.fee * RATE_SCALE >= feerate * package.vsize:
        raise InputError(f"{id_text(txid)} pays {feerate_text(package.feerate)} already")
    script, tip = destination
    chosen = [coin for coin in coins if outpoint_txid(coin.point) == txid]
    if not chosen:
        raise InputError(f"{id_text(txid)} pays nothing to this wallet that it could spend")
    more = [
        coin
        for coin in coins
        if coin.height is not None and coin.is_spendable and coin not in chosen
    ]
    more.sort(key=lambda coin: coin.value)
    goal = goal_for([], feerate)
    while True:
        vsize = -(-goal.weight(len(chosen), change=True) // WITNESS_SCALE)
        fee = fee_for((package.vsize + vsize) * WITNESS_SCALE, feerate) - package.fee
        rest = sum(coin.value for coin in chosen) - fee
        if rest >= DUST:
            break
        if not more or len(chosen) >= INPUTS_MAX:
            raise FundsError(f"not enough: the fee alone would be {groat_text(fee)}")
        chosen.append(more.pop())
    return make_draft(chosen, [TxOut(Amount(rest), script)], 0, feerate, tip)


def others_text(count: int) -> str:
    """Return how many transactions of others spend from a payment, in words."""
    return f"{count} transaction{'s'[: count > 1]} of others that spend{'s'[count > 1 :]} from it"


@dataclass(frozen=True, slots=True)
class _Bump:
    goal: Goal
    old_fee: int  # of all that is replaced
    descendants: int

    def fee(self, inputs: int, *, change: bool) -> int:
        """Return the fee: at the rate, and at least the minimum of a replacement.

        The minimum is the old fee plus the relay fee of the new one (BIP125, rules 3 and 4).
        """
        relay = fee_for(self.goal.weight(inputs, change=change), RATE_FLOOR)
        return max(self.goal.fee(inputs, change=change), self.old_fee + relay)

    def check(self, inputs: int, *, change: bool) -> None:
        """Raise InputError if the rate is too low to replace at."""
        due = self.fee(inputs, change=change)
        if due > self.goal.fee(inputs, change=change):
            vsize = -(-self.goal.weight(inputs, change=change) // WITNESS_SCALE)
            least = FeeRate(-(-due * RATE_SCALE // vsize))
            why = f": it drops {others_text(self.descendants)}" if self.descendants else ""
            raise InputError(
                f"a replacement needs a fee rate of at least {feerate_text(least)}{why}"
            )

    def fund(
        self, spent: Sequence[WalletCoin], more: Sequence[WalletCoin]
    ) -> tuple[list[WalletCoin], Amount | None]:
        """Return enough coins, and the change that they leave."""
        for count in range(len(more) + 1):
            chosen = [*spent, *more[:count]]
            rest = sum(coin.value for coin in chosen) - self.goal.paid
            change = rest - self.fee(len(chosen), change=True)
            if change >= DUST:
                return chosen, Amount(change)
            if rest >= self.fee(len(chosen), change=False):
                return chosen, None
        fee = self.fee(len(spent), change=False)
        raise FundsError(
            f"not enough: its change and all other confirmed coins do not pay a fee of about "
            f"{groat_text(fee)}"
        )


def _replaceable(txid: Hash32, book: Book) -> tuple[Transaction, list[WalletCoin]]:
    """Return an own unconfirmed payment without descendants, and the coins that it spends."""
    name = id_text(txid)
    seen = book.find(txid)
    if seen is None:
        raise InputError(f"this wallet has no transaction {name}: see history")
    if seen.height is not None:
        raise InputError(f"{name} is confirmed already")
    spent = book.spent_coins(seen.transaction)
    if spent is None:
        raise InputError(
            f"{name} was paid by others too, who alone could replace it: cpfp {name} may help"
        )
    _check_signed(seen.transaction, spent, book.params)
    for index in range(len(seen.transaction.outputs)):
        spender = book.spender(outpoint(txid, index))
        if spender is not None:
            raise InputError(f"{id_text(spender)} spends from {name}: bump that one instead")
    return seen.transaction, spent


def _check_signed(transaction: Transaction, spent: Sequence[WalletCoin], params: Params) -> None:
    """Refuse a payment that this wallet did not sign.

    A server can forge one that pays the wallet's coins to anybody, and bumping it would sign it. An
    id does not cover signatures, so these are verified.
    """
    try:
        prove(transaction, [TxOut(coin.value, coin.script) for coin in spent], params)
    except InvalidError:
        raise InputError(
            f"{id_text(transaction.txid)} is not signed by this wallet: the node forged it"
        ) from None


def _change_output(transaction: Transaction, book: Book) -> int | None:
    """Return the index of the change output: the largest one to the change branch."""
    key_indexes = [book.key_index(out.script) for out in transaction.outputs]
    found = [at for at, place in enumerate(key_indexes) if place and place[0] is Keychain.CHANGE]
    return max(found, key=lambda at: transaction.outputs[at].value, default=None)
