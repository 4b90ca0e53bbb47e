"""BDK wallets of every kind of descriptor receive and pay through the node's Esplora."""

import asyncio

import bdkpython as bdk
import pytest

from chain.primitives.numbers import id_text
from chain.primitives.transaction import decode_transaction
from tests.api.harness import listening
from tests.builders import KEY

pytestmark = pytest.mark.net
COIN = 5_000_000_000
PAID = 1_000_000
DELAY_BLOCKS = 5
# BIP341's point whose private key nobody knows: only a leaf can spend.
NOBODY = "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0"
WORDS = ("abandon " * 11 + "about", "zoo " * 11 + "wrong", "legal winner thank year wave " + (
    "sausage worth useful legal winner thank yellow"
))  # fmt: skip

KINDS = {
    "pkh": "pkh({a})",
    "sh(wpkh)": "sh(wpkh({a}))",
    "wpkh": "wpkh({a})",
    "tr": "tr({a})",
    "wsh(sortedmulti)": "wsh(sortedmulti(2,{a},{b},{c}))",
    "sh(wsh(multi))": "sh(wsh(multi(2,{a},{b})))",
    "wsh with a delay": f"wsh(and_v(v:pk({{a}}),older({DELAY_BLOCKS})))",
    "tr with a leaf": f"tr({NOBODY},pk({{a}}))",
}


class Wallet:
    """A BDK wallet of one kind, with all its private keys."""

    def __init__(self, kind: str) -> None:
        outside, inside = (
            bdk.Descriptor(KINDS[kind].format(**_keys(branch)), bdk.NetworkKind.TEST)
            for branch in (0, 1)
        )
        store = bdk.Persister.new_in_memory()
        self.wallet = bdk.Wallet(outside, inside, bdk.Network.REGTEST, store)
        info = self.wallet.reveal_next_address(bdk.KeychainKind.EXTERNAL)
        self.address = str(info.address)
        self.script = bytes(info.address.script_pubkey().to_bytes())

    def scan(self, client: "bdk.EsploraClient") -> None:
        request = self.wallet.start_full_scan().build()
        self.wallet.apply_update(client.full_scan(request, 1, 4))

    def pay(self, client: "bdk.EsploraClient") -> bytes:
        """Pay, broadcast, and return the transaction."""
        recipient, amount = bdk.Script(KEY.script), bdk.Amount.from_sat(PAID)
        builder = bdk.TxBuilder().add_recipient(recipient, amount)
        psbt = builder.fee_rate(bdk.FeeRate.from_sat_per_vb(5)).finish(self.wallet)
        assert self.wallet.sign(psbt), "the wallet has all keys"
        tx = psbt.extract_tx()
        client.broadcast(tx)
        return bytes(tx.serialize())

    @property
    def confirmed(self) -> int:
        return self.wallet.balance().confirmed.to_sat()


def _keys(branch: int) -> dict[str, str]:
    keys = [
        bdk.DescriptorSecretKey(bdk.NetworkKind.TEST, bdk.Mnemonic.from_string(words.strip()), None)
        for words in WORDS
    ]
    texts = [str(key).removesuffix("/*") for key in keys]
    return {name: f"{text}/{branch}/*" for name, text in zip("abc", texts, strict=True)}


def test_bdk_wallets_of_eight_kinds_receive_and_pay(on_node):
    wallets = {kind: Wallet(kind) for kind in KINDS}
    assert len({wallet.script for wallet in wallets.values()}) == len(KINDS)

    async def scenario(node):
        for wallet in wallets.values():
            await node.grow(1, script=wallet.script)
        await node.grow(100)
        async with listening(node) as url:
            client = bdk.EsploraClient(f"{url}/api")
            sent = []
            for kind, wallet in wallets.items():
                await asyncio.to_thread(wallet.scan, client)
                assert wallet.confirmed == COIN, kind
                shown = await node.rpc("validateaddress", wallet.address)
                assert shown["scriptPubKey"] == wallet.script.hex()
                tx = decode_transaction(await asyncio.to_thread(wallet.pay, client))
                assert tx in node.sent_txs, kind
                sent.append(tx)
            fees = len(sent) * COIN - sum(tx.output_value for tx in sent)
            await node.mine(sent, fees=fees)
            for (kind, wallet), tx in zip(wallets.items(), sent, strict=True):
                await asyncio.to_thread(wallet.scan, client)
                assert wallet.confirmed == tx.output_value - PAID, kind
                shown = await node.json(f"/api/tx/{id_text(tx.txid)}")
                before = shown["vin"][0]["prevout"]
                assert before["scriptpubkey_address"] == wallet.address
                kinds = {out["scriptpubkey_type"] for out in shown["vout"]}
                assert kinds == {before["scriptpubkey_type"], "v0_p2wpkh"}, kind  # its own change

    on_node(scenario)
