"""Kernels find the nonces that hashlib finds, whatever their width."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import binding
from typer.testing import CliRunner

from chain.cli.commands import app
from chain.consensus.genesis import genesis_block
from chain.consensus.params import NETWORKS
from chain.llvm.sha256 import ROUND_CONSTANTS, START, Numbers, compress
from chain.mining import kernel as kernel_module
from chain.mining.bench import PlainLoop, bench_miner
from chain.mining.builds import BUILDS
from chain.mining.hashlib_kernel import HashlibKernel
from chain.mining.kernel import NONCES, agree, best_kernel
from chain.mining.llvm_kernel import LlvmKernel, LlvmKernelError, optimised, runnable_builds
from chain.primitives.compact import target_from_bits
from chain.primitives.hashes import sha256d


@pytest.fixture(scope="module", params=[build.name for build in BUILDS])
def kernel(request) -> LlvmKernel:
    try:
        return LlvmKernel(request.param)
    except LlvmKernelError as error:
        pytest.skip(str(error))


def block_id(header: bytes, nonce: int) -> int:
    digest = sha256d(header[:76] + nonce.to_bytes(4, "little"))
    return int.from_bytes(digest, "little")


@given(st.binary(min_size=80, max_size=80), st.integers(0, NONCES - 1), st.integers(1, 100))
def test_hashlib_kernel_finds_the_first_nonce_within_the_target(header, start, count):
    count = min(count, NONCES - start)
    target = 1 << 251
    expected = [n for n in range(start, start + count) if block_id(header, n) <= target]
    found = HashlibKernel().search(header, target, start, count)
    assert found == (expected[0] if expected else None)


@given(
    header=st.binary(min_size=80, max_size=80),
    start=st.one_of(st.integers(0, 40), st.integers(0, NONCES - 1), st.just(NONCES - 40)),
    count=st.integers(1, 300),
    bits=st.integers(240, 256),
)
def test_compiled_kernel_finds_what_hashlib_finds(kernel, header, start, count, bits):
    count, target = min(count, NONCES - start), (1 << bits) - 1
    found = kernel.search(header, target, start, count)
    assert found == HashlibKernel().search(header, target, start, count)


def test_a_hash_equal_to_the_target_is_within_it(kernel):
    header, nonce = bytes(80), 1000
    target = block_id(header, nonce)
    assert kernel.search(header, target, nonce, 1) == nonce
    assert kernel.search(header, target - 1, nonce, 1) is None


def test_a_hash_whose_top_word_equals_the_targets_is_compared_whole(kernel):
    header, nonce = bytes(80), 1000
    target = block_id(header, nonce) >> 224 << 224  # the same top word, all else zero
    assert kernel.search(header, target, nonce, 1) is None
    assert kernel.search(header, target | (1 << 224) - 1, nonce, 1) == nonce


def test_a_hit_beyond_the_range_is_not_reported(kernel):
    header = bytes(80)
    hit = kernel.search(header, 1 << 250, 0, 10_000)
    assert hit is not None
    assert kernel.search(header, 1 << 250, 0, hit) is None
    assert kernel.search(header, 1 << 250, 0, hit + 1) == hit


@pytest.mark.parametrize("name", ["main", "test", "devnet"])
def test_genesis_blocks_are_found_again(kernel, name):
    header = genesis_block(NETWORKS[name]).header
    target = target_from_bits(header.bits)
    assert target is not None
    start = max(header.nonce - 5000, 0)
    assert kernel.search(header.encode(), target, start, 6000) == header.nonce


def test_the_best_kernel_agrees_with_hashlib():
    assert agree(best_kernel(), HashlibKernel())


def test_a_kernel_that_misses_a_nonce_does_not_agree():
    class Misses(HashlibKernel):
        def search(self, header, target, start, count):
            return super().search(header, target, start + 1, count - 1)

    assert not agree(Misses(), HashlibKernel())


def test_a_build_that_there_is_not_is_refused_and_those_there_are_told():
    with pytest.raises(LlvmKernelError, match="only avx512, sha, avx2, plain"):
        LlvmKernel("mmx")


def test_a_build_that_the_machine_cannot_run_is_refused(monkeypatch):
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: {"avx2": False})
    with pytest.raises(LlvmKernelError, match="cannot run the build avx2"):
        LlvmKernel("avx2")
    assert runnable_builds() == ["plain"]


@pytest.mark.parametrize(
    ("name", "forbidden"),
    [
        ("sha", ("zmm", "vpternlog", "vprord", "%k1")),
        ("avx2", ("zmm", "vpternlog", "vprord", "%k1", "sha256rnds2")),
        ("plain", ("zmm", "ymm", "vpternlog", "vprord", "sha256rnds2")),
    ],
)
def test_a_build_uses_nothing_that_its_machines_may_lack(name, forbidden):
    if name not in runnable_builds():
        pytest.skip(f"this machine cannot run the build {name}")
    build = next(build for build in BUILDS if build.name == name)
    module, machine = optimised(build, dict(binding.get_host_cpu_features()))
    text = machine.emit_assembly(module)
    assert [word for word in forbidden if word in text] == []


def test_the_next_build_is_taken_when_the_fastest_is_wrong(monkeypatch):
    names = runnable_builds()
    if len(names) < 2:
        pytest.skip("this machine can run one build only")
    search = LlvmKernel.search

    def wrong(self, header, target, start, count):
        found = search(self, header, target, start, count)
        return None if self.name == f"llvm-{names[0]}" else found

    monkeypatch.setattr(LlvmKernel, "search", wrong)
    assert best_kernel().name == f"llvm-{names[1]}"


def test_hashlib_is_left_when_every_build_is_wrong(monkeypatch):
    quick = [name for name in ("sha", "plain") if name in runnable_builds()][:1]
    monkeypatch.setattr(kernel_module, "runnable_builds", lambda: quick)
    monkeypatch.setattr(LlvmKernel, "search", lambda *_: None)
    assert best_kernel().name == "hashlib"


@given(st.binary(max_size=55))
def test_the_rounds_compute_sha256(data):
    padded = data + b"\x80" + bytes(55 - len(data)) + (8 * len(data)).to_bytes(8, "big")
    words = [int.from_bytes(padded[i : i + 4], "big") for i in range(0, 64, 4)]
    state = compress(Numbers(), START, words)
    assert b"".join(word.to_bytes(4, "big") for word in state) == hashlib.sha256(data).digest()


def test_the_constants_are_those_of_fips_180_4():
    assert START[0] == 0x6A09E667
    assert (ROUND_CONSTANTS[0], ROUND_CONSTANTS[63]) == (0x428A2F98, 0xC67178F2)


def test_the_benchmark_counts_every_thread():
    figures = bench_miner(HashlibKernel(), 2, 0.01)
    assert figures.threads == 2
    assert figures.kernel == "hashlib"
    assert figures.lanes == 1
    assert figures.hashes_per_second > 0
    assert figures.hashlib_hashes_per_second > 0
    assert figures.midstate_hashes_per_second > 0


def test_a_benchmark_that_has_no_time_left_still_searches_once():
    figures = bench_miner(HashlibKernel(), 2, 0)
    assert figures.hashes_per_second > 0
    assert figures.hashlib_hashes_per_second > 0
    assert figures.midstate_hashes_per_second > 0


def test_the_benchmarks_plain_loop_finds_what_the_kernels_find():
    assert agree(PlainLoop(), HashlibKernel())


def test_the_command_tells_the_build_its_lanes_and_how_soon_it_was_ready():
    command = ["bench", "miner", "--build", "plain", "--seconds", "0.1", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert (figures["kernel"], figures["lanes"], figures["threads"]) == ("llvm-plain", 4, 1)
    assert figures["ready_seconds"] > 0


def test_the_command_names_the_builds_when_there_is_no_such_one():
    done = CliRunner().invoke(app, ["bench", "miner", "--build", "gpu"])
    assert done.exit_code == 2
    assert "--build 'gpu' is not one of avx512, sha, avx2, plain" in done.output
