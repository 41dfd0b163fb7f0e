"""The recordings of `tests/vectors/recordings` that are encrypted, and what is done to them.

Their identity stands beside them (`identity.txt`): what it opens is no secret. An outsider has the
files and no key; an insider signs whatever it is, and has the session's key as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from reference_attacks import flip, tampered
from reference_encryption import CHUNK, PIECE, SEALED, TAG, derive, digest, encrypt, place_of
from reference_format import h
from reference_frames import inflate
from reference_good import OTHER_SESSION, Make, base, vector
from reference_log import sha256
from reference_signing import SignatureStore
from reference_writer import FRAME_NS, SESSION, Files, Writer, frame, picture

IDENTITY = "AGE-SECRET-KEY-14DATE0GM6R3VY60HG96G4JFLMUPN6TGWVH8A0EZ6KMV6JXD7WMDQ5EFMTC"
RECIPIENT = "age1kxswlwtd96rmdyw7gj98vz85hf70dc7pq3s7kfysn528euguvfeqvx4ecz"
IDENTITY_FILE = f"# of the vectors: no secret\n# public key: {RECIPIENT}\n{IDENTITY}\n"
ONE, TWO, THREE = (f"chunks/{n:010d}.raw.enc" for n in (1, 2, 3))
HEADER = 4 + 1 + 32


class SealedWriter(Writer):
    """As `Writer`; what it writes is encrypted."""

    def __init__(self, store: SignatureStore, session: str = SESSION, **how: Any) -> None:  # noqa: ANN401  (as Writer)
        super().__init__(store, session, **how)
        self.key = hashlib.sha256(f"{session} key".encode()).digest()

    def open(self, **fields: object) -> Writer:
        super().open(**fields)
        return self.declare(self.key)

    def declare(self, key: bytes) -> Writer:
        """A manifest with a wrapped key, signed in OPEN."""
        encryption = {
            "cipher": "chacha20-poly1305",
            "key_id": derive("session key id", key)[:16].hex(),
            "recipients": [RECIPIENT],
            "wrapped_key": self.store.wrapped(key, RECIPIENT),
        }
        manifest = {"session_id": self.session, "encryption": encryption}
        data = json.dumps(manifest).encode() + b"\n"
        self.attached["session.json"] = data
        return self.edit(0, manifest_blake3=h(data))

    def chunk(self, units: int = 2, **how: Any) -> Writer:  # noqa: ANN401  (as Writer)
        super().chunk(units, **how)
        record = self.records[-1]
        name = next(n for n in self.attached if f"/{record['index']:010d}." in n)
        payload = self.attached.pop(name)
        plain = inflate(payload, record["plain_size"]) if record["codec"] == 1 else payload
        self.edit(record["index"], cipher=SEALED, plain_blake3=digest(self.key, plain))
        return self.store_chunk(
            record["index"], encrypt(self.key, self.where(record["index"]), payload)
        )

    def where(self, index: int) -> bytes:
        return place_of(CHUNK, self.session, index)

    def store_chunk(self, index: int, stored: bytes) -> Writer:
        """What an insider does: other stored bytes, with their digests."""
        codec = "zst" if self.records[index]["codec"] == 1 else "raw"
        self.attached[f"chunks/{index:010d}.{codec}.enc"] = stored
        digests = {"stored_blake3": h(stored), "stored_sha256": sha256(stored)}
        return self.edit(index, stored_size=len(stored), **digests)


def sealed_base(store: SignatureStore) -> SealedWriter:
    """0 OPEN, 1 CHUNK, 2 CHUNK, 3 CHUNK of deltas; not sealed yet."""
    writer = SealedWriter(store)
    writer.open().chunk(2).chunk(2).chunk(1, keyframe=False)
    return writer


def many_pieces(writer: SealedWriter) -> Writer:
    """A chunk of six pictures, more than one piece and less than two."""
    first, begin = writer.unit, writer.t_ns
    plain = b"".join(
        frame(first + n, begin + n * FRAME_NS, keyframe=n == 0, tile=picture(n + 1))
        for n in range(6)
    )
    return writer.chunk(6, plain=plain)


@vector("recordings/good", "COMPLETE", "COMPLETE")
def encrypted(store: SignatureStore) -> Files:
    """Every chunk is encrypted: one of zstd, one of two pieces, one of deltas; marks are not."""
    writer = SealedWriter(store)
    many_pieces(writer.open().chunk(1, colour=200).mark())  # type: ignore[arg-type]
    return writer.chunk(1, keyframe=False).seal().sealed()


@vector("recordings/good", "CLIP", "CLIP")
def clip_of_encrypted(store: SignatureStore) -> Files:
    """A clip needs no key, and holds what the recipients can read."""
    writer = SealedWriter(store).open().chunk(1).chunk(1).chunk(1, keyframe=False)
    return writer.seal().clip(2, 4)


@tampered(opened="TAMPERED")
def encrypted_chunk_byte_flipped(store: SignatureStore) -> Files:
    """One bit of an encrypted chunk's file is another: that is seen without a key."""
    files = sealed_base(store).seal().sealed()
    return {**files, TWO: flip(files[TWO], HEADER + 3)}


@tampered(opened="TAMPERED")
def wrapped_key_of_another_session(store: SignatureStore) -> Files:
    """`session.json` is another with another key, so that nobody could read what was recorded."""
    other = SealedWriter(store, OTHER_SESSION).open()
    manifest = other.attached["session.json"]
    return {**sealed_base(store).seal().sealed(), "session.json": manifest}


@tampered(opened="TAMPERED")
def encryption_taken_out_of_the_manifest(store: SignatureStore) -> Files:
    """An insider signs a manifest that declares no cipher over chunks that have one."""
    writer = sealed_base(store)
    manifest = b'{"session_id": "it", "encryption": null}\n'
    writer.attached["session.json"] = manifest
    return writer.edit(0, manifest_blake3=h(manifest)).seal().sealed()


@tampered(opened="TAMPERED")
def plain_chunk_in_an_encrypted_session(store: SignatureStore) -> Files:
    """An insider had a chunk stored that is not encrypted."""
    writer = sealed_base(store)
    Writer.chunk(writer, 1, keyframe=False)
    return writer.seal().sealed()


@tampered()
def cipher_in_a_session_that_is_not_encrypted(store: SignatureStore) -> Files:
    """A record says that its chunk is encrypted; `session.json` declares no cipher."""
    return base(store).edit(1, cipher=2).sealed()


def insider() -> Callable[[Make], Make]:
    """Signed as it is: who cannot look inside sees a whole recording."""
    return tampered("COMPLETE", opened="TAMPERED")


@insider()
def key_of_another_session_signed(store: SignatureStore) -> Files:
    """The manifest that OPEN signs has the key of another session."""
    writer = sealed_base(store)
    writer.declare(SealedWriter(store, OTHER_SESSION).key)
    return writer.seal().sealed()


@insider()
def sealed_piece_of_another_chunk(store: SignatureStore) -> Files:
    """The piece of one chunk stands behind the header of another."""
    writer = sealed_base(store)
    one, two = writer.attached[ONE], writer.attached[TWO]
    return writer.store_chunk(2, two[:HEADER] + one[HEADER:]).seal().sealed()


@insider()
def payload_of_another_index(store: SignatureStore) -> Files:
    """The whole file of one chunk is in the place of another."""
    writer = sealed_base(store)
    return writer.store_chunk(2, writer.attached[ONE]).seal().sealed()


@insider()
def payload_sealed_in_another_session(store: SignatureStore) -> Files:
    """A chunk was sealed with the right key, for another session."""
    writer = sealed_base(store)
    plain = b"".join(frame(n, n * FRAME_NS, keyframe=n == 0) for n in range(2))
    stored = encrypt(writer.key, place_of(CHUNK, OTHER_SESSION, 1), plain)
    return writer.store_chunk(1, stored).seal().sealed()


@insider()
def last_piece_cut(store: SignatureStore) -> Files:
    """The last piece of a chunk was left out; the one before it is whole."""
    writer = SealedWriter(store)
    many_pieces(writer.open())  # type: ignore[arg-type]
    return writer.store_chunk(1, writer.attached[ONE][: HEADER + PIECE + TAG]).seal().sealed()


@insider()
def bytes_of_the_last_piece_cut(store: SignatureStore) -> Files:
    """A byte at the end of a chunk's file was left out."""
    writer = sealed_base(store)
    return writer.store_chunk(1, writer.attached[ONE][:-1]).seal().sealed()


@insider()
def bytes_behind_the_last_piece(store: SignatureStore) -> Files:
    """A chunk's file goes on behind its last piece."""
    writer = sealed_base(store)
    return writer.store_chunk(1, writer.attached[ONE] + bytes(TAG)).seal().sealed()


@insider()
def seed_changed(store: SignatureStore) -> Files:
    """One bit of the seed in front of the pieces is another."""
    writer = sealed_base(store)
    return writer.store_chunk(1, flip(writer.attached[ONE], HEADER - 1)).seal().sealed()


@insider()
def seed_of_another_payload(store: SignatureStore) -> Files:
    """A chunk was sealed with a seed that its payload does not give: no two may share a key."""
    writer = sealed_base(store)
    plain = b"".join(frame(n, n * FRAME_NS, keyframe=n == 0) for n in range(2))
    stored = encrypt(writer.key, writer.where(1), plain, seed=bytes(32))
    return writer.store_chunk(1, stored).seal().sealed()


@insider()
def plain_digest_without_key(store: SignatureStore) -> Files:
    """A record has the digest of the plain bytes that everybody can make of a guess."""
    writer = sealed_base(store)
    plain = b"".join(frame(n, n * FRAME_NS, keyframe=n == 0) for n in range(2))
    return writer.edit(1, plain_blake3=h(plain)).seal().sealed()


@vector("recordings/unsupported", "COMPLETE", "UNSUPPORTED")
def unknown_version_of_an_encrypted_payload(store: SignatureStore) -> Files:
    """The header of an encrypted chunk is of version 2: who cannot look inside need not know."""
    writer = sealed_base(store)
    stored = writer.attached[ONE]
    return writer.store_chunk(1, stored[:4] + b"\x02" + stored[5:]).seal().sealed()
