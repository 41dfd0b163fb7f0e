"""Attacks on the form of what is signed: notes that are written in another way, and zstd frames."""

from __future__ import annotations

from reference_attacks import ALPHABET, ZST, tampered, with_notes
from reference_format import ED25519, ML_DSA_44
from reference_frames import inflate
from reference_good import (
    OTHER_SESSION,
    base,
)
from reference_signing import SignatureStore
from reference_writer import (
    Change,
    Files,
    Writer,
    block,
    frame,
    picture,
    zstd,
)

# --- notes: what is signed is right, and is written in another way -------------------------------


def rewritten(store: SignatureStore, change: Change) -> Files:
    """An insider signs the last checkpoint with another text."""
    writer = base(store)
    return with_notes(writer.sealed(), {**writer.notes(), 7: writer.note(7, change=change)})


@tampered()
def note_size_015(store: SignatureStore) -> Files:
    """The size has a zero in front."""
    return rewritten(store, lambda text: text.replace(b"\n7\n", b"\n07\n"))


@tampered()
def note_size_plus(store: SignatureStore) -> Files:
    """The size has a sign."""
    return rewritten(store, lambda text: text.replace(b"\n7\n", b"\n+7\n"))


@tampered()
def note_unicode_digits(store: SignatureStore) -> Files:
    """The size is of Arabic-Indic digits, which many a parser reads as 7."""
    return rewritten(store, lambda text: text.replace(b"\n7\n", "\n\u0667\n".encode()))


@tampered()
def note_crlf(store: SignatureStore) -> Files:
    """Its lines end with CR LF."""
    return rewritten(store, lambda text: text.replace(b"\n", b"\r\n"))


@tampered()
def note_u2028(store: SignatureStore) -> Files:
    """A line separator of Unicode stands where the first line ends."""
    return rewritten(store, lambda text: text.replace(b"\n", "\u2028".encode(), 1))


@tampered()
def note_noncanonical_base64(store: SignatureStore) -> Files:
    """Bits of the root's last character that mean nothing are 1."""

    def change(text: bytes) -> bytes:
        last = ALPHABET[ALPHABET.index(text[-3]) + 1]
        return text[:-3] + bytes([last]) + text[-2:]

    return rewritten(store, change)


@tampered()
def note_extension_line(store: SignatureStore) -> Files:
    """A fourth line, signed."""
    return rewritten(store, lambda text: text + b"an extension\n")


@tampered()
def note_extension_line_under_ml_dsa(store: SignatureStore) -> Files:
    """An outsider adds a fourth line: the ML-DSA-44 line still verifies."""
    writer = Writer(store, kinds=(ED25519, ML_DSA_44), every=99).open().seal()
    notes = writer.notes()
    notes[2] = notes[2].replace(b"\n\n", b"\nan extension\n\n")
    return with_notes(writer.sealed(), notes)


@tampered()
def note_signature_noncanonical(store: SignatureStore) -> Files:
    """An outsider changes bits of a signature's base64 that mean nothing."""
    writer = base(store)
    notes = writer.notes()
    last = ALPHABET[ALPHABET.index(notes[7][-4]) + 1]
    notes[7] = notes[7][:-4] + bytes([last]) + notes[7][-3:]
    return with_notes(writer.sealed(), notes)


@tampered()
def note_of_another_session(store: SignatureStore) -> Files:
    """The last checkpoint names another session, and is signed."""
    old, new = base(store).session.encode(), OTHER_SESSION.encode()
    return rewritten(store, lambda text: text.replace(old, new))


@tampered()
def note_signed_twice(store: SignatureStore) -> Files:
    """Two lines of the key that has to sign."""
    writer = base(store)
    notes = writer.notes()
    notes[7] += notes[7].split(b"\n\n")[1]
    return with_notes(writer.sealed(), notes)


# --- zstd: what is recorded is what is stored, and it is not one plain frame ---------------------


def coloured(store: SignatureStore, change: Change) -> Files:
    """An insider records and signs another file than a recorder may write."""
    plain = frame(0, 0, keyframe=True, tile=picture(200))
    writer = Writer(store).open().chunk(1, colour=200, plain=plain, stored=change(zstd(plain)))
    return writer.seal().sealed()


@tampered()
def zstd_recompressed(store: SignatureStore) -> Files:
    """An outsider compressed a chunk anew: the same pictures, other bytes."""
    writer = base(store)
    files = writer.sealed()
    plain = inflate(files[ZST], writer.records[5]["plain_size"])
    return {**files, ZST: zstd(plain, raw_most=10)}


@tampered()
def zstd_concatenated(store: SignatureStore) -> Files:
    """A second frame, which is empty, behind the first."""
    return coloured(store, lambda stored: stored + b"\x28\xb5\x2f\xfd\x20\x00" + block(0, 0, b""))


@tampered()
def zstd_skippable(store: SignatureStore) -> Files:
    """A skippable frame in front: bytes that mean nothing, and are signed for."""
    return coloured(store, lambda stored: b"\x50\x2a\x4d\x18\x04\x00\x00\x00hide" + stored)


@tampered()
def zstd_skippable_behind(store: SignatureStore) -> Files:
    """A skippable frame behind the frame."""
    return coloured(store, lambda stored: stored + b"\x50\x2a\x4d\x18\x04\x00\x00\x00hide")


@tampered()
def zstd_trailing(store: SignatureStore) -> Files:
    """Bytes behind the frame."""
    return coloured(store, lambda stored: stored + b"behind")


@tampered()
def zstd_cut(store: SignatureStore) -> Files:
    """The last block is not there."""
    return coloured(store, lambda stored: stored[:-4])


@tampered()
def zstd_bomb(store: SignatureStore) -> Files:
    """It declares no size and inflates to 512 times what its record says."""
    bomb = b"".join(block(1, 65536, b"\x00", last=n == 95) for n in range(96))
    return coloured(store, lambda _: b"\x28\xb5\x2f\xfd\x00\x50" + bomb)


@tampered()
def zstd_another_content_size(store: SignatureStore) -> Files:
    """It declares one byte more than its record, and inflates to that."""
    plain = frame(0, 0, keyframe=True, tile=picture(200))
    return coloured(store, lambda _: zstd(plain + b"\x00"))


@tampered()
def zstd_wide_window(store: SignatureStore) -> Files:
    """It asks for a window of 2^24 bytes."""
    return coloured(store, lambda stored: b"\x28\xb5\x2f\xfd\x80\x70" + stored[5:])
