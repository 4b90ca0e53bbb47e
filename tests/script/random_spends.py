"""Random spends: right ones of every kind of output, most then changed a little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from random import Random

from chain.primitives.hashes import hash160
from chain.primitives.numbers import Amount, OutPoint
from chain.primitives.script import push
from chain.primitives.transaction import Transaction, TxIn, TxOut, decode_transaction
from chain.script.hashes import InputHashes
from tests.script.chosen_vectors import chosen
from tests.script.core_format import dumped_spend, script_test, shown
from tests.script.kernel_process import Case
from tests.script.locks import (
    CONTEXTS,
    KEYS,
    Draft,
    Leaf,
    Sign,
    SpendKey,
    p2sh,
    schnorr,
    signature,
    spend_script,
    tapscript_parts,
)
from tests.script.random_scripts import ScriptMaker, operation_starts

SEQUENCES = (0xFFFFFFFF, 0xFFFFFFFE, 0, 1, 5, 1 << 22, (1 << 22) + 5, 1 << 31, (1 << 31) + 5)
LOCK_TIMES = (0, 0, 1, 100, 499_999_999, 500_000_000, 500_000_001, 0xFFFFFFFF)
VERSIONS = (1, 2, 2, 2, 3, 0xFFFFFFFF, 0)


@lru_cache(maxsize=1)
def vector_cases() -> list[Case]:
    """Return the spends of the vectors that are always here."""
    rows = chosen()
    made = [(script_test(row)[0], 0) for row in rows["script_tests"]]
    made += [
        (dumped_spend(row, name), row["index"])
        for row in rows["dumped"]
        for name in ("success", "failure")
        if name in row
    ]
    return [
        Case(hashes.transaction.raw, tuple((c.value, c.script) for c in hashes.coins), index)
        for hashes, index in made
    ]


class SpendMaker:
    """Makes spends, one after the other, from a seed."""

    def __init__(self, seed: object) -> None:
        self.rng = Random(str(seed))

    def next(self) -> Case:
        if self.rng.random() < 0.9:
            case = self.spend(self.draft())
        else:
            case = self.changed(self.rng.choice(vector_cases()))
        while self.rng.random() < 0.35:
            case = self.changed(case)
        return case

    def fresh(self, point: OutPoint | None = None) -> Case:
        """Return a spend with one input, of `point`; nothing but that hangs on it."""
        draft = replace(self.draft(), index=0, value=20_000, point=point)
        return self.spend(replace(draft, sequences=draft.sequences[:1]))

    def spend(self, draft: Draft) -> Case:
        """Return a spend as it should be made, of some kind of output."""
        rng = self.rng
        if rng.random() < 0.75:
            context = rng.choice(CONTEXTS)
            script, items = ScriptMaker(rng, context).make()
            return spend_script(draft, context, script, items, self.leaf())
        return rng.choice((self.key_path, self.key_hash, self.program, self.odd_leaf))(draft)

    def draft(self) -> Draft:
        rng = self.rng
        count = rng.choice((1, 1, 2, 3))
        outputs = [
            TxOut(Amount(rng.randrange(5000)), rng.choice((b"", b"\x51", b"\x00\x14" + bytes(20))))
            for _ in range(rng.choice((1, 1, 2, 3)))
        ]
        sequences = tuple(rng.choice(SEQUENCES) for _ in range(count))
        return Draft(
            version=rng.choice(VERSIONS),
            lock_time=rng.choice(LOCK_TIMES),
            sequences=sequences,
            outputs=outputs,
            index=rng.randrange(count),
            value=rng.randrange(1 << 20),
        )

    def leaf(self) -> Leaf:
        rng = self.rng
        path = [rng.randbytes(32) for _ in range(rng.choice((0, 0, 1, 2, 5)))]
        annex = rng.choice((None, None, None, b"\x50", b"\x50" + rng.randbytes(20)))
        return Leaf(path=path, annex=annex)

    def key_path(self, draft: Draft) -> Case:
        rng, key = self.rng, self.rng.choice(KEYS)
        output = b"\x51\x20" + key.xonly  # no tweak: the key itself
        hashes = InputHashes(draft.hashes(output), draft.index)
        annex = self.leaf().annex
        hash_type = rng.choice((0, 0, 1, 2, 3, 0x81, 0x82, 0x83, 4))
        made = schnorr(hashes, hash_type, annex, b"", key.private)
        return draft.case(output, b"", (made,) if annex is None else (made, annex))

    def key_hash(self, draft: Draft) -> Case:
        """Pay to witness public key hash, native or wrapped."""
        key: SpendKey = self.rng.choice(KEYS)
        program = b"\x00\x14" + hash160(key.compressed)
        is_wrapped = self.rng.random() < 0.5
        output = p2sh(program) if is_wrapped else program
        hashes = InputHashes(draft.hashes(output), draft.index)
        code = b"\x76\xa9\x14" + program[2:] + b"\x88\xac"
        item = Sign(key, self.rng.choice((1, 1, 2, 3, 0x81)), code)
        made = signature(hashes, "v0", code, item, Leaf())
        script_sig = push(program) if is_wrapped else b""
        return draft.case(output, script_sig, (made, key.compressed))

    def program(self, draft: Draft) -> Case:
        """An anchor, or a witness program of a version or size that has no meaning yet."""
        rng = self.rng
        version, size = rng.choice((0, 1, 1, 2, 16)), rng.choice((2, 19, 20, 32, 33, 40, 41))
        data = rng.choice((rng.randbytes(size), bytes(size), bytes(size - 1) + b"\x80"))
        program = bytes([0x50 + version if version else 0]) + push(data)
        if rng.random() < 0.2:
            program = b"\x51\x02\x4e\x73"
        is_wrapped = rng.random() < 0.4
        witness = rng.choice(((), (b"",), (rng.randbytes(64),)))
        script_sig = push(program) if is_wrapped else rng.choice((b"", b"", b"\x51"))
        return draft.case(p2sh(program) if is_wrapped else program, script_sig, witness)

    def odd_leaf(self, draft: Draft) -> Case:
        """A leaf of an unknown version, or one that an opcode makes valid."""
        rng = self.rng
        leaf = replace(self.leaf(), version=rng.choice((0xC0, 0xC2, 0x00, 0x50, 0xFE)))
        script = rng.choice((b"\x6a", b"\x50", b"\xba\xff\xbb", b"\x4c\x50", rng.randbytes(9)))
        items = [rng.randbytes(rng.choice((0, 1, 600))) for _ in range(rng.choice((0, 1, 2)))]
        if rng.random() < 0.1:
            items = [b""] * rng.choice((1000, 1001))
        output, control = tapscript_parts(script, leaf)
        annex = () if leaf.annex is None else (leaf.annex,)
        return draft.case(output, b"", (*items, script, control, *annex))

    # changes

    def changed(self, case: Case) -> Case:
        tx = decode_transaction(case.raw)
        change: Callable[[Case, Transaction], Case | None] = self.rng.choice(
            (
                self.change_item,
                self.change_item,
                self.change_items,
                self.change_script_sig,
                self.change_transaction,
                self.change_coin,
            )
        )
        return change(case, tx) or case

    def changed_in_spend(self, case: Case) -> Case:
        """Return the case with another witness or scriptSig; the coin stays."""
        change = self.rng.choice((self.change_item, self.change_items, self.change_script_sig))
        return change(case, decode_transaction(case.raw)) or case

    def bytes_changed(self, data: bytes) -> bytes:
        rng = self.rng
        if not data or rng.random() < 0.2:
            return rng.choice((b"", b"\x00", b"\x01", bytes(520), bytes(521), data + b"\x00"))
        at = rng.randrange(len(data))
        choice = rng.random()
        if choice < 0.5:
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        if choice < 0.6:
            return data[:at] + data[at + 1 :]
        if choice < 0.7:
            return data[:at] + rng.randbytes(1) + data[at:]
        return data[:-1] + bytes([rng.choice((0, 1, 2, 3, 4, 0x81, 0x83))])

    def change_item(self, case: Case, tx: Transaction) -> Case | None:
        txin = tx.inputs[case.index]
        if not txin.witness:
            return None
        items = list(txin.witness)
        at = self.rng.randrange(len(items))
        items[at] = self.bytes_changed(items[at])
        return replace(case, raw=shown(tx, case.index, txin.script_sig, items).raw)

    def change_items(self, case: Case, tx: Transaction) -> Case | None:
        txin, rng = tx.inputs[case.index], self.rng
        items = list(txin.witness)
        at = rng.randint(0, len(items))
        if items and rng.random() < 0.5:
            items.pop(at % len(items))
        else:
            items.insert(at, rng.choice((b"", b"\x01", b"\x50", rng.randbytes(33))))
        return replace(case, raw=shown(tx, case.index, txin.script_sig, items).raw)

    def change_script_sig(self, case: Case, tx: Transaction) -> Case:
        txin, rng = tx.inputs[case.index], self.rng
        data = txin.script_sig
        if data and rng.random() < 0.7:
            starts = operation_starts(data) or [0]
            at = rng.choice(starts)
            inserted = rng.choice((b"\x00", b"\x51", b"\x61", b"\x01\x01", b"\xac", b""))
            data = data[:at] + inserted + data[at:]
        elif data:
            data = self.bytes_changed(data)
        else:
            data = rng.choice((b"\x51", b"\x00", b"\x6a", b"\x01"))
        return replace(case, raw=shown(tx, case.index, data, txin.witness).raw)

    def change_transaction(self, case: Case, tx: Transaction) -> Case:
        rng = self.rng
        inputs, outputs = list(tx.inputs), list(tx.outputs)
        version, lock_time = tx.version, tx.lock_time
        choice = rng.randrange(4)
        if choice == 0:
            at = rng.randrange(len(inputs))
            inputs[at] = replace(inputs[at], sequence=rng.choice(SEQUENCES))
        elif choice == 1:
            at = rng.randrange(len(outputs))
            outputs[at] = TxOut(Amount(outputs[at].value ^ 1), outputs[at].script)
        elif choice == 2:
            version, lock_time = rng.choice(VERSIONS), rng.choice(LOCK_TIMES)
        else:
            inputs.append(TxIn(inputs[0].outpoint[:-1] + b"\x07", sequence=0))
            coins = (*case.coins, (1000, b"\x51"))
            return replace(
                case, raw=Transaction(version, inputs, outputs, lock_time).raw, coins=coins
            )
        return replace(case, raw=Transaction(version, inputs, outputs, lock_time).raw)

    def change_coin(self, case: Case, tx: Transaction) -> Case:
        del tx
        rng = self.rng
        coins = list(case.coins)
        at = rng.randrange(len(coins)) if rng.random() < 0.5 else case.index
        value, script = coins[at]
        if rng.random() < 0.5:
            coins[at] = value + 1, script
        else:
            coins[at] = value, self.bytes_changed(script)
        return replace(case, coins=tuple(coins))
