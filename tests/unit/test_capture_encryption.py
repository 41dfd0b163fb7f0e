"""The key of a session as capture makes it and finds it again, whatever died in between."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from memory_store import MemoryStore
from mortal import Axe, Killed, Mortal

from recorder_worker.adapters.age import AgeRecipients, new_identity, read_identities, unwrap
from recorder_worker.adapters.device_key.cipher_keys import CipherKeyFiles
from recorder_worker.core import keys as names
from recorder_worker.core.cipher.names import CIPHER_NONE, CIPHER_SEALED
from recorder_worker.core.cipher.session_cipher import key_id
from recorder_worker.core.commands import StartSession
from recorder_worker.core.errors import SessionKeyMissingError, UnsupportedError
from recorder_worker.core.model import RecordingPolicy, SourceClock, SourceFacts
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.stages.capture.session.encryption import session_cipher, with_encryption
from recorder_worker.stages.capture.session.manifest import Manifest, read_manifest, write_manifest

SESSION = "0192f0c1-2b3c-7d4e-8f50-0000000000a1"
PLAIN = Manifest(
    session_id=SESSION,
    command_id="command",
    command=StartSession(session_id=SESSION, source=PatternSource()),
    source=SourceFacts(
        kind="pattern",
        uri="pattern:desktop",
        description="",
        width=1,
        height=1,
        clock=SourceClock.MEDIA,
        frame_rate=1,
    ),
    policy=RecordingPolicy(
        chunk_duration_ns=1,
        chunk_max_stored_size=1,
        chunk_max_plain_size=1,
        zstd_level=1,
        zstd_window_log=10,
    ),
    node="node",
    software="tests",
    accepted_wall_ns=0,
)


class Bench:
    def __init__(self, folder: Path) -> None:
        identity, recipient = new_identity()
        (folder / "identity").write_text(identity)
        self.identities = read_identities(folder / "identity")
        self.keys = CipherKeyFiles(folder / "ciphers")
        self.wrap = AgeRecipients([recipient], "tests")
        self.store = MemoryStore()

    def open(self, axe: Axe, *, wrap: bool = True) -> Manifest:
        """As a lease does it: the key, the manifest, what segments are sealed with."""
        keys = Mortal(self.keys, axe, "make", "erase")
        manifest = read_manifest(self.store, SESSION)
        if manifest is None:
            manifest = with_encryption(PLAIN, keys, self.wrap if wrap else None)
        data = write_manifest(Mortal(self.store, axe, "put"), manifest)
        standing = msgspec.json.decode(data, type=Manifest)
        cipher = session_cipher(standing, keys)
        if standing.encryption is None:
            assert cipher is None
        else:
            assert cipher is not None
            assert cipher.key_id == standing.encryption.key_id
        return standing


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_manifest_has_the_key_for_its_recipients_and_for_nobody_else(bench: Bench) -> None:
    manifest = bench.open(Axe())
    said = manifest.encryption
    assert said is not None
    assert (said.cipher, manifest.policy.cipher) == (CIPHER_SEALED, CIPHER_SEALED)
    assert said.recipients == bench.wrap.recipients
    key = unwrap(said.wrapped_key, bench.identities)
    assert (key, key_id(key)) == (bench.keys.get(SESSION), said.key_id)
    assert key.hex().encode() not in bench.store.get(names.blob_key(SESSION, names.MANIFEST))


@pytest.mark.parametrize("after", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("at", [1, 2])
def test_killed_at_any_step_the_next_lease_holder_seals_with_one_key(
    bench: Bench, at: int, *, after: bool
) -> None:
    axe = Axe(at, after=after)
    with pytest.raises(Killed):
        bench.open(axe)
    assert axe.effects == ["make", "put"][:at], "the key is durable before it is named"
    first = bench.keys.get(SESSION) if (at, after) != (1, False) else None
    one, again = bench.open(Axe()), bench.open(Axe())
    assert one == again
    assert one.encryption is not None
    key = unwrap(one.encryption.wrapped_key, bench.identities)
    assert key == bench.keys.get(SESSION)
    assert first in {None, key}


def test_a_manifest_that_stands_decides_whatever_a_later_worker_is_set_to(bench: Bench) -> None:
    encrypted = bench.open(Axe())
    assert bench.open(Axe(), wrap=False) == encrypted
    bench.wrap = AgeRecipients([new_identity()[1]], "others")
    assert bench.open(Axe()) == encrypted


def test_a_session_that_began_in_the_clear_goes_on_so_and_leaves_no_key(bench: Bench) -> None:
    plain = bench.open(Axe(), wrap=False)
    assert (plain.encryption, plain.policy.cipher) == (None, CIPHER_NONE)
    bench.keys.make(SESSION)  # by one that lost the race for the manifest
    assert bench.open(Axe()) == plain
    with pytest.raises(SessionKeyMissingError):
        bench.keys.get(SESSION)


def test_a_key_that_is_gone_or_another_is_not_sealed_with(bench: Bench) -> None:
    manifest = bench.open(Axe())
    bench.keys.erase(SESSION)
    with pytest.raises(SessionKeyMissingError, match="found none"):
        session_cipher(manifest, bench.keys)
    bench.keys.make(SESSION)
    with pytest.raises(SessionKeyMissingError, match=r"expected the key [0-9a-f]{32} that"):
        session_cipher(manifest, bench.keys)


def test_a_cipher_of_a_later_version_is_not_taken_for_none(bench: Bench) -> None:
    manifest = bench.open(Axe())
    assert manifest.encryption is not None
    later = msgspec.structs.replace(manifest.encryption, cipher="later")
    with pytest.raises(UnsupportedError, match="expected cipher chacha20-poly1305, found 'later'"):
        session_cipher(msgspec.structs.replace(manifest, encryption=later), bench.keys)
