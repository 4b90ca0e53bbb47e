"""BIP84: the same words give the same addresses as in every other wallet."""

import json
from dataclasses import replace

import pytest

from chain.consensus.params import DEVNET, MAIN, NETWORKS, REGTEST, TEST
from chain.primitives.extended_key import decode_node
from chain.primitives.key_origin import HARDENED, DerivationError
from tests.wallet.conftest import ABANDON, LEGAL
from wallet.keys.account import Account, Keychain, account_key
from wallet.keys.secret import Secret

KNOWN = {  # from BDK on regtest
    (Keychain.RECEIVE, 0): "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk",
    (Keychain.RECEIVE, 1): "bcrt1qd7spv5q28348xl4myc8zmh983w5jx32cs707jh",
    (Keychain.CHANGE, 0): "bcrt1q9u62588spffmq4dzjxsr5l297znf3z6jkgnhsw",
}


def account_of(words, params, passphrase=""):
    return Account(account_key(Secret(words, passphrase), params).public(), params)


@pytest.mark.parametrize(("place", "address"), KNOWN.items())
def test_known_addresses(account, place, address):
    assert account.address(*place) == address


def test_published_addresses_and_keys(vectors):
    table = json.loads((vectors / "bip84" / "bip84.json").read_text())
    bitcoin = replace(MAIN, bech32_prefix="bc", bip44_coin_type=0)
    account = account_of(table["mnemonic"], bitcoin)
    for row in table["keys"]:
        branch, index = map(int, row["path"].split("/")[-2:])
        assert account.address(Keychain(branch), index) == row["address"]
        key = account_key(Secret(table["mnemonic"]), bitcoin).descend(branch, index)
        assert key.public_key.hex() == row["pubkey"]


@pytest.mark.parametrize("words", [ABANDON, LEGAL])
@pytest.mark.parametrize("passphrase", ["", "correct horse"])
def test_bdk_derives_the_same_addresses(words, passphrase):
    bdk = pytest.importorskip("bdkpython")
    secret = bdk.DescriptorSecretKey(
        bdk.NetworkKind.TEST, bdk.Mnemonic.from_string(words), passphrase
    )
    account = account_of(words, REGTEST, passphrase)
    for branch, kind in (
        (Keychain.RECEIVE, bdk.KeychainKind.EXTERNAL),
        (Keychain.CHANGE, bdk.KeychainKind.INTERNAL),
    ):
        descriptor = bdk.Descriptor.new_bip84(secret, kind, bdk.NetworkKind.TEST)
        for index in (0, 1, 19, 1000):
            expected = descriptor.derive_address(index, bdk.Network.REGTEST)
            assert account.address(branch, index) == str(expected)


@pytest.mark.parametrize(
    ("params", "prefix"), [(MAIN, "groat1q"), (TEST, "tgroat1q"), (DEVNET, "dgroat1q")]
)
def test_each_network_has_its_own_prefix(params, prefix):
    assert account_of(ABANDON, params).address(Keychain.RECEIVE, 0).startswith(prefix)


def test_main_and_test_keys_differ():
    main, test = (account_of(ABANDON, params) for params in (MAIN, TEST))
    assert main.script(Keychain.RECEIVE, 0) != test.script(Keychain.RECEIVE, 0)


@pytest.mark.parametrize("params", NETWORKS.values(), ids=list(NETWORKS))
def test_account_key_survives_its_text_form(params):
    account = account_of(ABANDON, params)
    assert account.encode().startswith("xpub" if params is MAIN else "tpub")
    assert decode_node(account.encode()) == account.key


def test_index_ends_below_two_to_the_31(account):
    assert account.address(Keychain.RECEIVE, HARDENED - 1)
    with pytest.raises(DerivationError):
        account.address(Keychain.RECEIVE, HARDENED)
