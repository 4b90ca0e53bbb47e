"""Every reason for which a transaction is kept out of the pool, at its boundary."""

from dataclasses import replace

import pytest
from ecdsa import SECP256k1, SigningKey

from chain.consensus.errors import InvalidError, Reason
from chain.node.policy import (
    DATA_BYTES_MAX,
    TX_WEIGHT_MAX,
    Policy,
    PolicyError,
    PolicyReason,
    check_outputs,
)
from chain.primitives.hashes import hash160
from chain.primitives.numbers import Amount
from chain.primitives.script import op_return, p2wpkh_script, push
from chain.primitives.sighash import SignatureHasher
from chain.primitives.signature import ORDER, sign
from chain.primitives.transaction import SEQUENCE_FINAL, Transaction, TxIn, TxOut
from tests.builders import KEY, Key, coinbase, pay, sign_input, spend
from tests.node.world import COIN, Held, World, output, send

MULTISIG = b"\x51" + push(KEY.public) * 3 + b"\x53\xae"
VSIZE = 110  # of one P2WPKH input and one P2WPKH output, low R


def refusal(world: World, transaction: Transaction) -> PolicyReason | Reason | None:
    try:
        world.submit(transaction)
    except (PolicyError, InvalidError) as error:
        assert transaction.txid not in world.txids
        return error.reason
    assert transaction.txid in world.txids
    return None


@pytest.fixture
def world() -> World:
    return World()


def test_a_plain_payment_is_taken(world):
    entry = world.submit(send([world.fund()], 1000))
    assert entry.fee == 1000
    assert entry.vsize == VSIZE
    assert world.mempool.pool.get(entry.txid) is entry
    assert world.mempool.pool.get_by_wtxid(entry.wtxid) is entry


@pytest.mark.parametrize(("fee", "reason"), [(109, PolicyReason.FEE_BELOW_RELAY), (110, None)])
def test_fee_below_the_relay_rate_is_refused(world, fee, reason):
    assert refusal(world, send([world.fund()], fee)) is reason


def test_relay_rate_is_settable():
    world = World(Policy(relay_feerate_min=0))
    assert refusal(world, send([world.fund()], 0)) is None


def test_rates_below_one_grain_a_byte_round_up():
    world = World(Policy(relay_feerate_min=5))  # 110 vB at 0.005 grains are 0.55
    assert refusal(world, send([world.fund()], 0)) is PolicyReason.FEE_BELOW_RELAY
    assert refusal(world, send([world.fund()], 1)) is None


@pytest.mark.parametrize(
    ("version", "reason"),
    [(0, PolicyReason.VERSION), (1, None), (2, None), (3, PolicyReason.VERSION)],
)
def test_only_versions_one_and_two_are_taken(world, version, reason):
    assert refusal(world, send([world.fund()], 1000, version=version)) is reason


def test_coinbase_is_refused(world):
    assert refusal(world, coinbase(121, 1)) is PolicyReason.COINBASE


@pytest.mark.parametrize(
    ("script", "least"),
    [
        (KEY.script, 294),
        (b"\x00\x20" + bytes(32), 330),
        (b"\x51\x20" + bytes(32), 330),
        (b"\x51\x02\x4e\x73", 240),
        (b"\x60\x02\x4e\x73", 240),
        (b"\x76\xa9\x14" + bytes(20) + b"\x88\xac", 546),
        (b"\xa9\x14" + bytes(20) + b"\x87", 540),
        (MULTISIG, 786),
    ],
)
def test_dust_is_refused_for_each_kind_of_output(world, script, least):
    held = world.fund()
    for value, reason in ((least - 1, PolicyReason.DUST), (least, None)):
        outputs = [TxOut(Amount(value), script), pay(COIN - 4000)]
        assert refusal(world, spend([held], outputs)) is reason


@pytest.mark.parametrize(
    "script",
    [
        b"",
        b"\x51",
        b"\x00\x15" + bytes(21),  # no such program of version 0
        b"\x52" + MULTISIG[1:-2] + push(KEY.public) + b"\x54\xae",  # 2 of 4
    ],
)
def test_paying_to_an_unknown_kind_of_script_is_refused(world, script):
    out = TxOut(Amount(COIN - 1000), script)
    assert refusal(world, spend([world.fund()], [out])) is PolicyReason.SCRIPT_PUBKEY


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (b"\x6a", None),
        (b"\x6a\x51\x60", None),  # numbers are pushes
        (b"\x6a\x61", PolicyReason.SCRIPT_PUBKEY),  # OP_NOP does not push
        (b"\x6a\x02\x00", PolicyReason.SCRIPT_PUBKEY),  # cut short
        (b"\x6a\x4c\x02\x00", PolicyReason.SCRIPT_PUBKEY),
        (b"\x6a\x4d\x01\x00\x00", None),
    ],
)
def test_op_return_holds_pushes(world, script, reason):
    outputs = [pay(COIN - 1000), TxOut(Amount(0), script)]
    assert refusal(world, spend([world.fund()], outputs)) is reason


@pytest.mark.parametrize("parts", [1, 2])
def test_op_returns_have_at_most_100_000_bytes_together(parts):
    """A transaction of more weighs too much, so the sizes are checked without one."""
    for size, is_standard in ((DATA_BYTES_MAX, True), (DATA_BYTES_MAX + 1, False)):
        first = size // parts
        sizes = [first] * (parts - 1) + [size - first * (parts - 1)]
        outputs = [TxOut(Amount(0), b"\x6a" + b"\x51" * (each - 1)) for each in sizes]
        if is_standard:
            check_outputs(outputs)
        else:
            with pytest.raises(PolicyError, match=r"^datacarrier$"):
                check_outputs(outputs)


def _with_op_return(held: Held, base_bytes: int) -> Transaction:
    """Return a spend of `held` into one OP_RETURN that has so many bytes without witness."""
    smallest = 4 + 1 + 41 + 1 + 9 + 4  # with an empty script
    return spend([held], [TxOut(Amount(0), b"\x6a" + b"\x51" * (base_bytes - smallest - 1))])


@pytest.mark.parametrize(("size", "reason"), [(64, PolicyReason.SIZE_SMALL), (65, None)])
def test_64_bytes_without_witness_are_refused(world, size, reason):
    transaction = _with_op_return(world.fund(), size)
    assert transaction.base_size == size
    assert refusal(world, transaction) is reason


def test_weight_over_400_000_is_refused():
    world = World(Policy(package_vbytes_max=1_000_000))
    outputs = 3223
    transaction = send([world.fund()], COIN // 2, outputs=outputs)
    assert transaction.weight <= TX_WEIGHT_MAX < transaction.weight + 4 * 31
    assert refusal(world, transaction) is None
    larger = send([world.fund()], COIN // 2, outputs=outputs + 1)
    assert refusal(world, larger) is PolicyReason.SIZE


def test_a_script_sig_beside_a_witness_program_is_refused(world):
    signed = send([world.fund()], 1000)
    filled = replace(signed.inputs[0], script_sig=b"\x51")
    transaction = Transaction(2, [filled], signed.outputs)
    with pytest.raises(PolicyError, match="Witness requires empty scriptSig"):
        world.submit(transaction)


@pytest.mark.parametrize(
    ("lock_time", "sequence", "reason"),
    [
        (120, 0, None),  # BIP113 and the height of the next block: 121
        (121, 0, PolicyReason.NOT_FINAL),
        (121, SEQUENCE_FINAL, None),
    ],
)
def test_lock_height_is_compared_with_the_next_block(world, lock_time, sequence, reason):
    assert world.tip.height == 120
    transaction = send([world.fund()], 1000, lock_time=lock_time, sequence=sequence, version=1)
    assert refusal(world, transaction) is reason


@pytest.mark.parametrize(("after_s", "reason"), [(-1, None), (0, PolicyReason.NOT_FINAL)])
def test_lock_time_is_compared_with_the_tips_median_time(world, after_s, reason):
    lock_time = world.tip.median_time_past + after_s
    transaction = send([world.fund()], 1000, lock_time=lock_time, sequence=0, version=1)
    assert refusal(world, transaction) is reason


@pytest.mark.parametrize(("blocks", "reason"), [(21, None), (22, PolicyReason.NOT_FINAL_BIP68)])
def test_relative_lock_counts_to_the_next_block(world, blocks, reason):
    held = world.fund(height=100)  # the next block is 121
    assert refusal(world, send([held], 1000, sequence=blocks)) is reason


@pytest.mark.parametrize(("blocks", "reason"), [(0, None), (1, PolicyReason.NOT_FINAL_BIP68)])
def test_an_unconfirmed_coin_counts_as_of_the_next_block(world, blocks, reason):
    parent = world.submit(send([world.fund()], 1000)).transaction
    assert refusal(world, send([output(parent)], 1000, sequence=blocks)) is reason


def test_the_same_transaction_is_refused(world):
    transaction = send([world.fund()], 1000)
    world.submit(transaction)
    with pytest.raises(PolicyError) as refused:
        world.submit(transaction)
    assert refused.value.reason is PolicyReason.IN_POOL


def test_another_witness_for_a_pooled_transaction_is_refused(world):
    transaction = send([world.fund()], 1000)
    world.submit(transaction)
    signature, key = transaction.inputs[0].witness
    other = Transaction(
        2, [replace(transaction.inputs[0], witness=(signature + b"\x01", key))], transaction.outputs
    )
    with pytest.raises(PolicyError) as refused:
        world.submit(other)
    assert refused.value.reason is PolicyReason.IN_POOL_OTHER_WITNESS


def test_a_confirmed_transaction_is_known_while_an_output_is_unspent(world):
    held = world.fund()
    transaction = send([held], 1000)
    world.connect([transaction])
    assert refusal(world, transaction) is PolicyReason.KNOWN


def test_unknown_coins_are_missing(world):
    held = world.fund()
    del world.coins[held[0]]
    assert refusal(world, send([held], 1000)) is Reason.COIN_MISSING


def test_an_op_return_output_of_the_pool_is_no_coin(world):
    note = TxOut(Amount(0), op_return(b"note"))
    parent = world.submit(spend([world.fund()], [pay(COIN - 1000), note])).transaction
    child = spend([output(parent, 1)], [pay(1000)])
    assert refusal(world, child) is Reason.COIN_MISSING


def test_an_output_beyond_the_last_of_a_pooled_transaction_is_missing(world):
    parent = world.submit(send([world.fund()], 1000)).transaction
    point, coin = output(parent)
    beyond = (type(point)(point[:32] + b"\x01\0\0\0"), coin)
    assert refusal(world, send([beyond], 1000)) is Reason.COIN_MISSING


@pytest.mark.parametrize(("height", "reason"), [(21, None), (22, Reason.COIN_IMMATURE)])
def test_a_coinbase_coin_may_be_spent_in_the_block_in_which_it_matures(world, height, reason):
    held = world.fund(height=height, from_coinbase=True)  # the next block is 121
    assert refusal(world, send([held], 1000)) is reason


def test_paying_out_more_than_comes_in_is_invalid(world):
    assert refusal(world, send([world.fund()], -1)) is Reason.OUT_EXCEEDS_IN


def test_consensus_form_is_checked_first(world):
    assert refusal(world, Transaction(2, [], [pay(1000)])) is Reason.INPUTS_EMPTY


def _high_s(der: bytes) -> bytes:
    r_size = der[3]
    s = ORDER - int.from_bytes(der[6 + r_size :], "big")
    body = s.to_bytes(32, "big")
    body = b"\x00" + body if body[0] & 0x80 else body
    inner = der[2 : 4 + r_size] + b"\x02" + bytes([len(body)]) + body
    return b"\x30" + bytes([len(inner)]) + inner


def test_high_s_is_refused_but_not_invalid(world):
    signed = send([world.fund()], 1000)
    signature, key = signed.inputs[0].witness
    witness = (_high_s(signature[:-1]) + signature[-1:], key)
    transaction = Transaction(2, [replace(signed.inputs[0], witness=witness)], signed.outputs)
    with pytest.raises(PolicyError, match="S value is unnecessarily high") as refused:
        world.submit(transaction)
    assert not refused.value.is_invalid


@pytest.mark.parametrize("hash_type", [0x01, 0x02, 0x03, 0x81, 0x82, 0x83])
def test_defined_hash_types_are_taken(world, hash_type):
    held = world.fund()
    transaction = Transaction(2, [TxIn(held[0])], [pay(COIN - 1000)])
    assert refusal(world, sign_input(transaction, 0, COIN, hash_type=hash_type)) is None


@pytest.mark.parametrize("hash_type", [0x00, 0x04, 0x80, 0xC1])
def test_other_hash_types_are_refused_but_not_invalid(world, hash_type):
    held = world.fund()
    transaction = Transaction(2, [TxIn(held[0])], [pay(COIN - 1000)])
    with pytest.raises(PolicyError, match="hash type") as refused:
        world.submit(sign_input(transaction, 0, COIN, hash_type=hash_type))
    assert not refused.value.is_invalid


def test_an_uncompressed_key_is_refused_but_not_invalid(world):
    point = SigningKey.from_string(KEY.private, SECP256k1).get_verifying_key()
    key = point.to_string("uncompressed")
    held = world.fund(script=p2wpkh_script(hash160(key)))
    transaction = Transaction(2, [TxIn(held[0])], [pay(COIN - 1000)])
    digest = SignatureHasher(transaction).hash(0, hash160(key), Amount(COIN), 1)
    witness = (sign(KEY.private, digest) + b"\x01", key)
    signed = Transaction(2, [TxIn(held[0], witness=witness)], transaction.outputs)
    with pytest.raises(PolicyError, match="non-compressed") as refused:
        world.submit(signed)
    assert not refused.value.is_invalid


def test_a_wrong_signature_is_invalid(world):
    held = world.fund()
    signed = send([held], 1000)
    transaction = Transaction(2, signed.inputs, [pay(COIN - 2000)])
    with pytest.raises(PolicyError) as refused:
        world.submit(transaction)
    assert refused.value.is_invalid
    assert refused.value.reject_reason.startswith("mempool-script-verify-flag-failed (")


def test_a_key_that_does_not_hash_to_the_coins_is_invalid(world):
    held = world.fund(key=Key(2))
    with pytest.raises(PolicyError) as refused:
        world.submit(send([held], 1000, key=KEY))
    assert refused.value.is_invalid


def test_a_policy_error_prints_reason_and_detail_as_bitcoin_does(world):
    with pytest.raises(PolicyError) as refused:
        world.submit(send([world.fund()], 1))
    assert str(refused.value) == "min relay fee not met, 1 < 110"
    assert refused.value.reject_reason == "min relay fee not met"
