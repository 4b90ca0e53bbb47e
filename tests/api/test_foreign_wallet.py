"""A wallet of another project (BDK) uses the API over a real socket."""

import asyncio

import bdkpython as bdk
import httpx
import pytest

from chain.primitives.transaction import decode_transaction
from tests.api.harness import listening
from tests.builders import KEY
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.net
WORDS = "abandon " * 11 + "about"
FIRST = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"
COIN = 5_000_000_000


class Wallet:
    """BDK's wallet over BIP84 keys on regtest, speaking Esplora to a node."""

    def __init__(self, url: str) -> None:
        self.client = bdk.EsploraClient(url)
        secret = bdk.DescriptorSecretKey(
            bdk.NetworkKind.TEST, bdk.Mnemonic.from_string(WORDS.strip()), None
        )
        outside, inside = (
            bdk.Descriptor.new_bip84(secret, kind, bdk.NetworkKind.TEST)
            for kind in (bdk.KeychainKind.EXTERNAL, bdk.KeychainKind.INTERNAL)
        )
        store = bdk.Persister.new_in_memory()
        self.wallet = bdk.Wallet(outside, inside, bdk.Network.REGTEST, store)

    def scan(self) -> None:
        request = self.wallet.start_full_scan().build()
        self.wallet.apply_update(self.client.full_scan(request, 5, 2))

    def sync(self) -> None:
        request = self.wallet.start_sync_with_revealed_spks().build()
        self.wallet.apply_update(self.client.sync(request, 2))

    def script(self) -> bytes:
        info = self.wallet.reveal_next_address(bdk.KeychainKind.EXTERNAL)
        return bytes(info.address.script_pubkey().to_bytes())

    def send(self, psbt: "bdk.Psbt") -> "bdk.Transaction":
        self.wallet.sign(psbt)
        tx = psbt.extract_tx()
        self.client.broadcast(tx)
        return tx

    def pay(self, script: bytes, grains: int) -> "bdk.Transaction":
        builder = bdk.TxBuilder().add_recipient(bdk.Script(script), bdk.Amount.from_sat(grains))
        rate = bdk.FeeRate.from_sat_per_vb(5)
        return self.send(builder.fee_rate(rate).finish(self.wallet))

    def bump(self, tx: "bdk.Transaction") -> "bdk.Transaction":
        rate = bdk.FeeRate.from_sat_per_vb(10)
        return self.send(bdk.BumpFeeTxBuilder(tx.compute_txid(), rate).finish(self.wallet))

    @property
    def confirmed(self) -> int:
        return self.wallet.balance().confirmed.to_sat()

    @property
    def total(self) -> int:
        return self.wallet.balance().total.to_sat()

    @property
    def ids(self) -> set[str]:
        return {str(tx.transaction.compute_txid()) for tx in self.wallet.transactions()}


def test_bdk_scans_pays_replaces_and_survives_a_reorganisation(on_node):
    async def scenario(node):
        async with listening(node) as url:
            wallet = await asyncio.to_thread(Wallet, f"{url}/api")
            await asyncio.to_thread(wallet.scan)
            assert wallet.total == 0
            assert str(wallet.wallet.peek_address(bdk.KeychainKind.EXTERNAL, 0).address) == FIRST
            await node.grow(2, script=wallet.script())
            await node.grow(100)
            await asyncio.to_thread(wallet.scan)
            assert wallet.confirmed == 2 * COIN

            first = await asyncio.to_thread(wallet.pay, KEY.script, 1_000_000)
            assert first.lock_time() == 102, "BDK locks to the tip, which must be final already"
            await asyncio.to_thread(wallet.sync)
            assert str(first.compute_txid()) in wallet.ids

            second = await asyncio.to_thread(wallet.bump, first)
            await asyncio.to_thread(wallet.sync)
            assert str(second.compute_txid()) in wallet.ids
            assert str(first.compute_txid()) not in wallet.ids, "it was replaced: evicted"

            tx = decode_transaction(bytes(second.serialize()))
            fee = wallet.wallet.calculate_fee(second).to_sat()
            assert tx in node.sent_txs
            fork = node.chain.fork(0)
            await node.mine([tx], fees=fee)
            await asyncio.to_thread(wallet.sync)
            assert wallet.confirmed == 2 * COIN - 1_000_000 - fee

            await node.connect(*fork.grow(2, extra=b"fork"))  # the payment waits again
            await asyncio.to_thread(wallet.sync)
            assert wallet.wallet.latest_checkpoint().height == 104
            assert wallet.total == 2 * COIN - 1_000_000 - fee
            assert wallet.confirmed < wallet.total

            again = fork.add([tx], fees=fee)
            await node.connect(again)
            await asyncio.to_thread(wallet.sync)
            assert wallet.confirmed == wallet.total

    on_node(scenario)


def test_bdk_asks_everything_that_its_client_can(on_node):
    async def scenario(node):
        await node.grow(3)
        block = node.chain.blocks[1]
        coinbase = block.transactions[0]
        async with listening(node) as url:
            client = bdk.EsploraClient(f"{url}/api")

            def ask():
                txid = bdk.Txid.from_string(coinbase.txid[::-1].hex())
                block_id = client.get_block_hash(2)
                assert client.get_height() == 3
                assert str(block_id) == block.id[::-1].hex()
                assert str(client.get_tip_hash()) == node.chain.tip.id[::-1].hex()
                assert client.get_header_by_hash(block_id).nonce == block.header.nonce
                assert bytes(client.get_tx(txid).serialize()) == coinbase.raw
                assert client.get_tx_info(txid).status.confirmed
                assert client.get_tx_status(txid).block_height == 2
                assert client.get_txid_at_block_index(block_id, 0) is not None
                assert client.get_txid_at_block_index(block_id, 9) is None
                assert client.get_output_status(txid, 0).spent is False
                assert client.get_merkle_proof(txid).pos == 0
                assert client.get_fee_estimates()[1] == 1.0
                unknown = bdk.Txid.from_string("00" * 32)
                assert client.get_tx(unknown) is None
                assert client.get_tx_info(unknown) is None

            await asyncio.to_thread(ask)

    on_node(scenario)


def test_refusal_reaches_bdk_as_text(on_node):
    async def scenario(node):
        async with listening(node) as url:
            client = bdk.EsploraClient(f"{url}/api")
            await node.grow(1)
            orphan = bdk.Transaction(node.chain.blocks[0].transactions[0].raw)
            with pytest.raises(bdk.EsploraError.HttpResponse) as caught:
                await asyncio.to_thread(client.broadcast, orphan)
            assert caught.value.status == 400

    on_node(scenario)


def test_events_flow_over_a_socket_and_end_with_the_server(on_node):
    async def scenario(node):
        seen = []
        async with listening(node) as url, httpx.AsyncClient() as client:
            async with client.stream("GET", f"{url}/api/v1/events") as reply:
                assert reply.headers["content-type"].startswith("text/event-stream")
                async for line in reply.aiter_lines():
                    if line.startswith("event: "):
                        seen.append(line)
                        if len(seen) == 3:
                            break
                        await node.mine()
            assert seen == ["event: tip", "event: block", "event: block"]
            staying = await client.send(
                client.build_request("GET", f"{url}/api/v1/events"), stream=True
            )
            node.context.end_streams()
            async with asyncio.timeout(PATIENCE_S):
                await staying.aread()

    on_node(scenario)
