"""Times what integrity costs: verifying, growing the tree, proving, signing.

Run as `python -m benchmarks integrity`. Verification is paired with `b3sum` and `zstd -t` over the
same chunk files in the same run, the tree with pymerkle. Medians; ratios to the product.
"""

from __future__ import annotations

import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pymerkle
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from benchmarks.peers import medians, print_table, run
from benchmarks.recordings import desktop_recording, motion_recording
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.merkle.proofs import inclusion_proof, verify_inclusion
from recorder_worker.core.merkle.tree import SHA256, Frontier, Tree
from recorder_worker.core.signing.note import (
    NoteKey,
    NoteSigner,
    SignatureType,
    TreeHead,
    sign_checkpoint,
)
from recorder_worker.core.verify import verify

LEAVES = 1_000_000
PROOFS = 2000
SIGNATURES = 500
RECORDER = Path(sys.executable).with_name("recorder")


def time_verification(title: str, recording: Path) -> None:
    """`recorder verify` over a recording, and what b3sum and `zstd -t` take for its files."""
    files = sorted(str(path) for path in (recording / "chunks").iterdir())
    stored = sum(Path(name).stat().st_size for name in files)
    works: dict[str, Callable[[], object]] = {
        "recorder verify": lambda: run([str(RECORDER), "verify", str(recording)]),
        "recorder --version": lambda: run([str(RECORDER), "--version"]),
    }
    for name, command in {"b3sum": ["b3sum", *files], "zstd -t": ["zstd", "-tq", *files]}.items():
        if shutil.which(command[0]):
            works[name] = lambda command=command: run(command)  # type: ignore[misc]
        else:
            print(f"{name}: not installed, left out")
    seconds = medians(works)
    seconds["recorder verify, start-up apart"] = max(
        1e-9, seconds["recorder verify"] - seconds["recorder --version"]
    )
    own = seconds["recorder verify, start-up apart"]
    plain = recording_plain_size(recording)
    print_table(
        f"verify, {title}: {len(files)} chunks, {stored / 1e6:.1f} MB stored, "
        f"{plain / 1e9:.2f} GB plain",
        {
            name: (
                f"{found:.3f} s",
                f"{stored / found / 1e9:.3f}",
                f"{plain / found / 1e9:.2f}",
                f"{found / own:.2f}",
            )
            for name, found in seconds.items()
        },
        ("median", "GB/s stored", "GB/s plain", "ratio"),
    )


def recording_plain_size(recording: Path) -> int:
    """Bytes of all chunks before compression."""
    return verify(FolderRecording(recording)).totals.plain_bytes


def time_tree() -> None:
    """Appending a million leaves, and proofs in a tree of that size, beside pymerkle."""
    entries = [secrets.token_bytes(200) for _ in range(1000)]
    begin = time.perf_counter()
    frontier = Frontier(hasher=SHA256)
    for index in range(LEAVES):
        frontier = frontier.append(SHA256.leaf(entries[index % 1000]))
    frontier_s = time.perf_counter() - begin
    begin = time.perf_counter()
    tree = Tree(hasher=SHA256)
    for index in range(LEAVES):
        tree.append(SHA256.leaf(entries[index % 1000]))
    tree_s = time.perf_counter() - begin
    begin = time.perf_counter()
    peer = pymerkle.InmemoryTree(algorithm="sha256")
    for index in range(LEAVES):
        peer.append_entry(entries[index % 1000])
    peer_s = time.perf_counter() - begin
    root = tree.root()
    if root != peer.get_state() or root != frontier.root():
        raise SystemExit("the trees differ: these figures would mean nothing")
    places = [secrets.randbelow(LEAVES) for _ in range(PROOFS)]
    own_us = median_us(lambda at: inclusion_proof(tree, at, LEAVES), places)
    peer_us = median_us(lambda at: peer.prove_inclusion(at + 1, LEAVES), places[:200])
    proofs = {at: inclusion_proof(tree, at, LEAVES) for at in places}

    def check(at: int) -> None:
        verify_inclusion(
            leaf_hash=SHA256.leaf(entries[at % 1000]),
            index=at,
            size=LEAVES,
            proof=proofs[at],
            root=root,
            hasher=SHA256,
        )

    rows = {
        "ours, frontier (what a recorder holds)": (f"{frontier_s / LEAVES * 1e6:.2f} us", "", ""),
        "ours, all levels": (
            f"{tree_s / LEAVES * 1e6:.2f} us",
            f"{own_us:.1f} us",
            f"{median_us(check, places):.1f} us",
        ),
        f"pymerkle {pymerkle.__version__}": (
            f"{peer_s / LEAVES * 1e6:.2f} us",
            f"{peer_us:.1f} us",
            "",
        ),
        "ratio, pymerkle to ours": (f"{peer_s / tree_s:.2f}", f"{peer_us / own_us:.2f}", ""),
    }
    print_table(f"tree of {LEAVES} leaves, SHA-256", rows, ("append", "prove", "check a proof"))


def median_us(work: Callable[[int], object], places: list[int]) -> float:
    """The median microseconds of `work(place)`."""
    times = []
    for place in places:
        begin = time.perf_counter()
        work(place)
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def time_signing() -> None:
    """What a checkpoint costs that is signed by an epoch's keys: one is made for every leaf."""
    ed25519, ml_dsa = Ed25519PrivateKey.generate(), MLDSA44PrivateKey.generate()
    one = NoteSigner(
        key=NoteKey(name="r", public_key=ed25519.public_key().public_bytes_raw()),
        sign=ed25519.sign,
    )
    two = NoteSigner(
        key=NoteKey(
            name="r",
            public_key=ml_dsa.public_key().public_bytes_raw(),
            type=SignatureType.COSIGNATURE_ML_DSA_44,
        ),
        sign=ml_dsa.sign,
    )

    def note(size: int, signers: list[NoteSigner]) -> bytes:
        head = TreeHead(origin="r/s/benchmark/blake3", tree_size=size, root_hash=bytes(32))
        return sign_checkpoint(head, signers=signers, signed_at_s=size)

    sizes = list(range(1, SIGNATURES + 1))
    rows = {}
    for name, signers in {"Ed25519": [one], "Ed25519 and ML-DSA-44": [one, two]}.items():
        taken_us = median_us(lambda size, signers=signers: note(size, signers), sizes)  # type: ignore[misc]
        rows[name] = (f"{taken_us:.0f} us", f"{len(note(1, signers))}")
    print_table("a checkpoint, signed and verified once by the signer", rows, ("median", "bytes"))


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        time_verification("desktop", desktop_recording(Path(folder)))
        time_verification("desktop with a film", motion_recording(Path(folder)))
    time_tree()
    time_signing()


if __name__ == "__main__":
    main()
