"""Random scripts: what wallets use, and free ones from a grammar of opcodes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from chain.primitives.hashes import hash160, ripemd160, sha1, sha256, sha256d
from chain.primitives.script import push, read_operation
from chain.script.number import encode_number
from chain.script.opcodes import DISABLED, SUCCESS, Op
from tests.script.core_format import parse_script, push_int
from tests.script.locks import KEYS, LEGACY, Item, Sign, SpendKey

HASH_TYPES = (1, 1, 1, 2, 3, 0x81, 0x82, 0x83)
ODD_HASH_TYPES = (0, 4, 0x1F, 0x20, 0x41, 0x80, 0x84, 0xFF)
Made = tuple[bytes, list[Item]]  # a script, and what is shown to it


class ScriptMaker:
    """Makes scripts for one context."""

    def __init__(self, rng: Random, context: str) -> None:
        self.rng = rng
        self.context = context
        self.is_tapscript = context == "tapscript"

    def make(self) -> Made:
        if self.rng.random() < 0.4:
            return self.free()
        templates: list[Callable[[], Made]] = [
            self.pay_to_key,
            self.pay_to_key_hash,
            self.multisig,
            self.lock_time,
            self.hash_lock,
            self.branches,
            self.separated,
            self.refused,
        ]
        if self.context in LEGACY:
            templates.append(self.signs_itself)
        if self.is_tapscript:
            templates.append(self.new_key)
        return self.rng.choice(templates)()

    # templates

    def hash_type(self) -> int:
        if self.rng.random() < 0.1:
            return self.rng.choice(ODD_HASH_TYPES)
        return self.rng.choice((0, *HASH_TYPES) if self.is_tapscript else HASH_TYPES)

    def key(self) -> SpendKey:
        return self.rng.choice(KEYS)

    def shown_key(self, key: SpendKey) -> bytes:
        if self.is_tapscript:
            return key.xonly
        forms = (key.compressed, key.compressed, key.full, key.hybrid)
        return self.rng.choice(forms)

    def sign(self, key: SpendKey, code: bytes | None = None, **place: int) -> Item:
        return b"" if self.rng.random() < 0.05 else Sign(key, self.hash_type(), code, **place)

    def checks(self, key: SpendKey, operation: Op = Op.OP_CHECKSIG) -> bytes:
        return push(self.shown_key(key)) + bytes([operation])

    def pay_to_key(self) -> Made:
        key = self.key()
        return self.checks(key), [self.sign(key)]

    def pay_to_key_hash(self) -> Made:
        key = self.key()
        shown = self.shown_key(key)
        lock = push(hash160(shown))
        script = parse_script("DUP HASH160") + lock + parse_script("EQUALVERIFY CHECKSIG")
        return script, [self.sign(key), shown]

    def multisig(self) -> Made:
        count = self.rng.choice((1, 2, 2, 3, 3, 4))
        needed = self.rng.randint(0, count)
        keys = [self.key() for _ in range(count)]
        signers = sorted(self.rng.sample(range(count), needed))
        if self.is_tapscript:
            script = b"\x00"
            for key in keys:
                script += self.checks(key, Op.OP_CHECKSIGADD)
            items = [self.sign(k) if at in signers else b"" for at, k in enumerate(keys)]
            return script + push_int(needed) + parse_script("NUMEQUAL"), items[::-1]
        end = self.rng.choice(("CHECKMULTISIG", "CHECKMULTISIG", "CHECKMULTISIGVERIFY 1"))
        shown = b"".join(push(self.shown_key(key)) for key in keys)
        script = push_int(needed) + shown + push_int(count) + parse_script(end)
        dummy = b"" if self.rng.random() < 0.95 else b"\x01"
        return script, [dummy, *(self.sign(keys[at]) for at in signers)]

    def lock_time(self) -> Made:
        key = self.key()
        operation = self.rng.choice(("CHECKLOCKTIMEVERIFY", "CHECKSEQUENCEVERIFY"))
        script = push_int(self.rng.choice(LOCKS)) + parse_script(f"{operation} DROP")
        return script + self.checks(key), [self.sign(key)]

    def hash_lock(self) -> Made:
        name, function = self.rng.choice(HASHES)
        secret, key = self.rng.randbytes(self.rng.choice((0, 1, 20, 32, 33))), self.key()
        check = push(function(secret)) + parse_script("EQUALVERIFY")
        return parse_script(name) + check + self.checks(key), [self.sign(key), secret]

    def branches(self) -> Made:
        one, other = self.key(), self.key()
        opcode = self.rng.choice((Op.OP_IF, Op.OP_NOTIF))
        is_first = self.rng.random() < 0.5
        branch = b"\x01" if is_first == (opcode == Op.OP_IF) else b""
        if self.rng.random() < 0.1:
            branch = self.rng.choice((b"\x02", b"\x00", b"\x80", b"\x01\x00"))
        middle = self.checks(one) + parse_script("ELSE") + self.checks(other)
        script = bytes([opcode]) + middle + parse_script("ENDIF")
        return script, [self.sign(one if is_first else other), branch]

    def separated(self) -> Made:
        one, other = self.key(), self.key()
        first = self.checks(one, Op.OP_CHECKSIGVERIFY) + bytes([Op.OP_CODESEPARATOR])
        rest = self.checks(other)
        whole = self.sign(one)
        if self.context in LEGACY and isinstance(whole, Sign):
            whole = Sign(one, whole.hash_type, first[:-1] + rest)
            if self.rng.random() < 0.5:  # the same: the digest leaves separators out
                whole = Sign(one, whole.hash_type, first + rest)
        return first + rest, [self.sign(other, rest, separator=2), whole]

    def refused(self) -> Made:
        """A signature that is wrong by intent: valid where a wrong one is no failure."""
        key = self.key()
        wrong = self.rng.choice((b"", Sign(key, 1, b"\x51")))
        end = self.rng.choice(("NOT", "IF 0 ELSE 1 ENDIF", "DROP 1", "NOTIF 1 ENDIF"))
        return self.checks(key) + parse_script(end), [wrong]

    def signs_itself(self) -> Made:
        """The signature stands in the script that it signs, and is deleted from that."""
        key = self.key()
        made = Sign(key, self.hash_type(), self.checks(key))
        script = b"\x00" * self.rng.randint(0, 2) + parse_script("DROP DROP")
        return script[: self.rng.randint(0, 2)] + self.checks(key), [made]

    def new_key(self) -> Made:
        shown = self.rng.randbytes(self.rng.choice((1, 20, 31, 33, 64)))
        operation = self.rng.choice(("CHECKSIG", "CHECKSIGVERIFY 1"))
        return push(shown) + parse_script(operation), [self.rng.randbytes(self.rng.choice((0, 1)))]

    # free scripts

    def free(self) -> Made:
        items = [self.item() for _ in range(self.rng.choice((0, 1, 2, 3, 5, 8)))]
        maker = _FreeScript(self, len(items))
        maker.block(self.rng.choice((2, 5, 10, 20)))
        if self.rng.random() < 0.6:
            maker.end()
        script = bytes(maker.code)
        if self.rng.random() < 0.03:
            script = script[: self.rng.randint(0, len(script))]
        return script, self._signed(script, items)

    def _signed(self, script: bytes, items: list[Item]) -> list[Item]:
        if items and self.rng.random() < 0.3:
            code, at = script, 0
            if bytes([Op.OP_CODESEPARATOR]) in script and self.rng.random() < 0.5:
                at = script.index(bytes([Op.OP_CODESEPARATOR])) + 1
                code = script[at:]
            place = self.rng.randrange(len(items))
            items[place] = Sign(self.key(), self.hash_type(), code)
        return items

    def item(self) -> bytes:
        choice = self.rng.random()
        if choice < 0.4:
            return self.rng.choice(SMALL)
        if choice < 0.6:
            return encode_number(self.rng.randint(-300, 300))
        if choice < 0.8:
            return self.shown_key(self.key())
        return self.rng.randbytes(self.rng.choice((1, 4, 5, 20, 32, 64, 65, 72, 75, 76, 255, 256)))


class _FreeScript:
    """A script that grows, and about how many items are on its stack."""

    def __init__(self, maker: ScriptMaker, depth: int) -> None:
        self.maker = maker
        self.rng = maker.rng
        self.depth = depth
        self.code = bytearray()

    def block(self, length: int) -> None:
        for _ in range(length):
            choice = self.rng.random()
            if choice < 0.3:
                self.push()
            elif choice < 0.36 and length > 2:
                self.condition(length // 2)
            elif choice < 0.4:
                self.code.append(self.rng.randrange(256) if self.rng.random() < 0.2 else 0x61)
            elif choice < 0.44:
                self.check()
            else:
                self.operate()

    def push(self) -> None:
        if self.rng.random() < 0.3:
            self.code.append(self.rng.choice((0x00, 0x4F, 0x51, 0x52, 0x60)))
        elif self.rng.random() < 0.02:
            self.code += push(bytes(self.rng.choice((519, 520, 521))))
        elif self.rng.random() < 0.05:  # not the shortest
            data = self.maker.item()[:75]
            self.code += bytes([Op.OP_PUSHDATA1, len(data)]) + data
        else:
            self.code += push(self.maker.item())
        self.depth += 1

    def condition(self, length: int) -> None:
        self.code += push(self.rng.choice(SMALL[:3]))
        self.code.append(self.rng.choice((Op.OP_IF, Op.OP_NOTIF)))
        depth = self.depth
        self.block(length)
        if self.rng.random() < 0.7:
            self.code.append(Op.OP_ELSE)
            self.depth = depth
            self.block(length)
        if self.rng.random() < 0.97:
            self.code.append(Op.OP_ENDIF)

    def check(self) -> None:
        key = self.maker.key()
        if self.depth == 0 or self.rng.random() < 0.5:
            self.code += push(b"")
        self.code += self.maker.checks(key, self.rng.choice((Op.OP_CHECKSIG, Op.OP_CHECKSIGVERIFY)))

    def operate(self) -> None:
        fitting = [entry for entry in SHAPES if entry[1] <= self.depth]
        opcode, _, change = self.rng.choice(fitting if self.rng.random() < 0.97 else SHAPES)
        if self.maker.is_tapscript and opcode in SUCCESS and self.rng.random() < 0.9:
            return
        if opcode in DISABLED and self.rng.random() < 0.9:
            return
        if opcode in {Op.OP_PICK, Op.OP_ROLL}:
            self.code += push_int(self.rng.randint(0, max(self.depth - 1, 0)))
            change += 1
        self.code.append(opcode)
        self.depth = max(self.depth + change, 0)

    def end(self) -> None:
        self.code += bytes([Op.OP_DROP]) * self.depth + b"\x51"


def operation_starts(script: bytes) -> list[int]:
    """Return where operations begin, up to one that is cut short."""
    found, at = [], 0
    while at < len(script) and (read := read_operation(script, at)) is not None:
        found.append(at)
        at = read[2]
    return found


SMALL = (b"", b"\x01", b"\x02", b"\x00", b"\x80", b"\x81", b"\x10", b"\x00\x80", b"\x01\x00")
LOCKS = (-1, 0, 1, 2, 100, 499_999_999, 500_000_000, 1 << 22, (1 << 22) + 5, 1 << 31, (1 << 32) + 1)
HASHES: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    ("RIPEMD160", ripemd160),
    ("SHA1", sha1),
    ("SHA256", sha256),
    ("HASH160", hash160),
    ("HASH256", sha256d),
)
# Opcode, items that it needs, by how many the stack grows.
SHAPES: tuple[tuple[int, int, int], ...] = tuple(
    (Op[f"OP_{name}"], needed, change)
    for needed, change, names in (
        (0, 0, "NOP NOP1 NOP10 CODESEPARATOR RETURN VER RESERVED CAT MUL"),
        (0, 1, "DEPTH"),
        (1, -1, "DROP VERIFY TOALTSTACK"),
        (1, 0, "NOT 0NOTEQUAL 1ADD 1SUB NEGATE ABS RIPEMD160 SHA1 SHA256 HASH160 HASH256"),
        (1, 0, "CHECKLOCKTIMEVERIFY CHECKSEQUENCEVERIFY"),
        (1, 1, "DUP IFDUP SIZE FROMALTSTACK"),
        (2, -2, "2DROP EQUALVERIFY NUMEQUALVERIFY CHECKSIGVERIFY"),
        (2, -1, "NIP EQUAL ADD SUB BOOLAND BOOLOR NUMEQUAL NUMNOTEQUAL LESSTHAN GREATERTHAN"),
        (2, -1, "LESSTHANOREQUAL GREATERTHANOREQUAL MIN MAX CHECKSIG PICK ROLL CHECKMULTISIG"),
        (2, 0, "SWAP"),
        (2, 1, "OVER TUCK"),
        (2, 2, "2DUP"),
        (3, -2, "WITHIN CHECKSIGADD"),
        (3, 0, "ROT"),
        (3, 3, "3DUP"),
        (4, 0, "2SWAP"),
        (4, 2, "2OVER"),
        (6, 0, "2ROT"),
    )
    for name in names.split()
)
