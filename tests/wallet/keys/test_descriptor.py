"""Descriptors: BIP380's checksum, what BDK and embit make of ours, and watch-only wallets."""

from dataclasses import replace

import bdkpython as bdk
import pytest
from embit import bip32, bip39
from embit.descriptor import Descriptor
from embit.descriptor.checksum import add_checksum
from embit.networks import NETWORKS as EMBIT_NETWORKS
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.params import MAIN, REGTEST
from chain.primitives.descriptor import DescriptorError, checksum
from chain.primitives.key_origin import HARDENED, DerivationError, Origin, parse_origin
from tests.wallet.conftest import ABANDON
from wallet.errors import InputError
from wallet.keys.account import Account, Keychain, decode_account, open_account
from wallet.keys.descriptor import descriptor, read_descriptors
from wallet.keys.keyfile import seal
from wallet.keys.secret import Secret
from wallet.store.folder import wallet_folder

PLAIN = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="#"), max_size=200
)
ACCOUNT = open_account(Secret(ABANDON), REGTEST)
OURS = descriptor(ACCOUNT)
PREFIX = "wpkh([73c5da0a/84h/1h/0h]tpub"


def test_checksum_is_that_of_bip380():
    assert checksum("raw(deadbeef)") == "89f8spxm"
    assert checksum("raw(deedbeef)") != "89f8spxm"
    with pytest.raises(DescriptorError):
        checksum("raw(Ü)")


@given(PLAIN)
def test_checksum_is_that_of_embit(text):
    assert f"{text}#{checksum(text)}" == add_checksum(text)


def test_descriptor_is_that_of_bdk():
    secret = bdk.DescriptorSecretKey(bdk.NetworkKind.TEST, bdk.Mnemonic.from_string(ABANDON), None)
    kinds = (bdk.KeychainKind.EXTERNAL, bdk.KeychainKind.INTERNAL)
    for branch, kind in zip(Keychain, kinds, strict=True):
        theirs = str(bdk.Descriptor.new_bip84(secret, kind, bdk.NetworkKind.TEST))
        ours = descriptor(ACCOUNT, branch)
        assert read_body(theirs) == read_body(ours)


def read_body(text):
    return text.partition("#")[0].replace("'", "h")


def test_bdk_and_embit_find_our_addresses_from_our_descriptor():
    theirs = bdk.Descriptor(OURS, bdk.NetworkKind.TEST).to_single_descriptors()
    embit = Descriptor.from_string(OURS)
    for branch in Keychain:
        for index in (0, 1, 2, 19, 1000, HARDENED - 1):
            address = ACCOUNT.address(branch, index)
            found = theirs[branch].derive_address(index, bdk.Network.REGTEST)
            assert str(found) == address
            one = embit.derive(index, branch_index=int(branch))
            assert one.address(EMBIT_NETWORKS["regtest"]) == address


def test_embit_derives_the_same_account_key_from_the_words():
    root = bip32.HDKey.from_seed(bip39.mnemonic_to_seed(ABANDON))
    theirs = root.derive("m/84h/1h/0h").to_public().to_base58(EMBIT_NETWORKS["regtest"]["xpub"])
    assert OURS.startswith(f"wpkh([73c5da0a/84h/1h/0h]{theirs}/<0;1>/*)#")


@pytest.mark.parametrize("mark", ["h", "H", "'"])
def test_own_descriptor_reads_back(mark):
    text = OURS.partition("#")[0].replace("h/", f"{mark}/").replace("h]", f"{mark}]")
    for given_text in (OURS, text):
        account = read_descriptors([given_text], REGTEST)
        assert account.key == ACCOUNT.key
        assert account.origin == ACCOUNT.origin
    pair = [descriptor(ACCOUNT, branch) for branch in Keychain]
    for texts in (pair, pair[::-1]):
        assert read_descriptors(texts, REGTEST).encode() == ACCOUNT.encode()


def test_descriptor_without_origin_is_watched_all_the_same():
    bare = Account(ACCOUNT.key, REGTEST)
    account = read_descriptors([descriptor(bare)], REGTEST)
    assert account.origin is None
    assert account.key_origin(Keychain.CHANGE, 7) == Origin(ACCOUNT.key.fingerprint, (1, 7))
    assert account.address(Keychain.RECEIVE, 0) == ACCOUNT.address(Keychain.RECEIVE, 0)


def test_account_reads_back_with_and_without_origin():
    for account in (ACCOUNT, Account(ACCOUNT.key, REGTEST)):
        again = decode_account(account.encode(), REGTEST)
        assert (again.key, again.origin) == (account.key, account.origin)


@pytest.mark.parametrize(
    "text",
    ["d34db33f", "d34db33f/0", "D34DB33F/84'/1H/0h/2147483647h", "00000000/0h"],
)
def test_origins_that_are_some(text):
    assert parse_origin(parse_origin(text).text()) == parse_origin(text)


NO_ORIGINS = ["", "d34db33", "d34db33f0", "d34db33f/", "d34db33f//0", "d34db33f/*"]
NO_ORIGINS += ["d34db33f/2147483648", "d34db33f/0hh", "d34db33f/h", "d34db33f/-1", "aaagggbb/0"]


@pytest.mark.parametrize("text", NO_ORIGINS)
def test_origins_that_are_none(text):
    with pytest.raises(DerivationError):
        parse_origin(text)


def private_descriptor():
    key = Secret(ABANDON).root().descend(HARDENED + 84, HARDENED + 1, HARDENED)
    return f"wpkh({key.encode(test=True)}/<0;1>/*)"


@pytest.mark.parametrize(
    ("texts", "hint"),
    [
        ([OURS[:-1] + ("q" if OURS[-1] != "q" else "p")], "checksum is wrong"),
        ([OURS.replace("84h", "85h")], "checksum is wrong"),
        ([OURS + "#"], "checksum is wrong"),
        ([OURS.partition("#")[0] + "#"], "checksum is wrong"),
        (["pkh" + OURS.partition("#")[0][4:]], "must be wpkh"),
        (["sh(" + OURS.partition("#")[0] + ")"], "must be wpkh"),
        ([OURS.partition("#")[0].replace("<0;1>", "<1;0>")], "must be wpkh"),
        ([OURS.partition("#")[0].replace("/*", "/*h")], "must be wpkh"),
        (["x" * 1001], "not a descriptor"),
        ([""], "must be wpkh"),
        (["wpkh(tpub/<0;1>/*)"], "not an extended key"),
        (["wpkh([x]tpub/<0;1>/*)"], "not an extended key"),
        ([private_descriptor()], "private key"),
        ([descriptor(open_account(Secret(ABANDON), MAIN))], "not of network regtest"),
        ([descriptor(ACCOUNT, Keychain.RECEIVE)], "give one descriptor"),
        ([descriptor(ACCOUNT, Keychain.RECEIVE)] * 2, "give one descriptor"),
        ([OURS, OURS], "give one descriptor"),
    ],
)
def test_descriptors_that_cannot_be_watched(texts, hint):
    with pytest.raises(InputError, match=hint) as caught:
        read_descriptors(texts, REGTEST)
    assert "tprv" not in str(caught.value)


@given(st.text(max_size=120))
def test_any_text_is_a_descriptor_or_an_input_error(text):
    for given_text in (text, PREFIX + text, f"wpkh([{text}]tpub/<0;1>/*)"):
        with pytest.raises(InputError):
            read_descriptors([given_text], REGTEST)


def test_export_and_watch(cli, rich, regtest):
    exported = cli.json("export")
    assert exported["descriptor"] == OURS
    assert cli.run("export").stdout == OURS + "\n"
    assert cli.run("export", "--split").stdout.split() == [exported["receive"], exported["change"]]
    cli.run("send", "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "1", "--yes")
    made = cli.json("create", "--descriptor", OURS, wallet="eye")
    assert made["watch_only"]
    assert made["address"] == rich.address(Keychain.RECEIVE, 0)
    pair = ["--descriptor", exported["change"], "--descriptor", exported["receive"]]
    cli.run("create", *pair, wallet="eye2")
    for command in ("balance", "utxos", "address", "export", "history"):
        for wallet in ("eye", "eye2"):
            assert cli.json(command, wallet=wallet) == cli.json(command), command
    states = {row["wallet"]: row["state"] for row in cli.json("list")}
    assert states["eye"] == "watch-only"


def test_watching_wallet_signs_and_shows_nothing(cli, rich, regtest):
    cli.run("create", "--descriptor", OURS, wallet="eye")
    address = rich.address(Keychain.RECEIVE, 5)
    instead = {"send": "psbt create", "show-seed": "no words to show", "password": "nothing that"}
    for words in (["send", address, "1", "--yes"], ["show-seed"], ["password", "--no-password"]):
        error = cli.error(*words, code=5, wallet="eye")
        assert "watch-only wallet" in error
        assert instead[words[0]] in error
        assert ("psbt create" in error) == (words[0] == "send")
    assert not regtest.mempool


def test_watching_wallet_is_allowed_on_every_network(cli):
    cli.network = "main"
    text = descriptor(open_account(Secret(ABANDON), MAIN))
    cli.run("create", "--descriptor", text)
    assert cli.json("list")[0]["state"] == "watch-only"
    cli.node = "http://127.0.0.1:1/api"
    assert cli.json("address")["address"].startswith("groat1")


@pytest.mark.parametrize("word", ["descriptor", "xpub"])
def test_mistyped_descriptor_makes_no_wallet(cli, word):
    cli.error("create", "--descriptor", word, code=2)
    assert cli.json("list") == []


def test_key_file_of_before_origins_were_kept_still_opens(cli):
    """Its account is the bare extended key."""
    bare = Account(ACCOUNT.key, REGTEST)
    key_file = seal(Secret(ABANDON), None, network="regtest", account=bare.encode())
    wallet_folder(cli.datadir, REGTEST, "default").create(key_file)
    assert cli.json("show-seed")["words"] == ABANDON
    assert cli.json("export")["descriptor"] == descriptor(bare)


@pytest.mark.parametrize(("depth", "code"), [(253, 0), (254, 2), (255, 2)])
def test_key_too_deep_to_have_addresses_is_not_watched(cli, account, depth, code):
    key = replace(account.key, depth=depth).encode(test=True)
    result = cli.run("create", "--descriptor", f"wpkh({key}/<0;1>/*)", code=code)
    assert ("too deep" in result.stderr) == bool(code)
    if not code:
        cli.run("balance")
