"""Which keys are trusted and what is asked of a recording: a `trust.yaml` (docs/verify.md)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
import yaml  # type: ignore[import-untyped]
from msgspec import Meta

from recorder_worker.core.errors import FormatError, SettingsError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.model import GapReason
from recorder_worker.core.receipts.authorities import TimestampAuthority, authority
from recorder_worker.core.receipts.block_header import BlockHeader
from recorder_worker.core.receipts.chain import Anchor
from recorder_worker.core.signing.rotation import Rotation, parse_rotation, verify_rotation
from recorder_worker.core.signing.signing_keys import KEY_SIZES, KeyKind, PublicKey

MAX_POLICY_SIZE = 4 * 1024 * 1024

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Seconds = Annotated[float, Meta(gt=0, le=1e12)]


class TrustedKey(msgspec.Struct, frozen=True, kw_only=True):
    """Keys that somebody vouches for, raw, and the name they give them."""

    name: str
    public_key: bytes
    ml_dsa_44: bytes | None = None

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """The key set."""
        ed25519 = PublicKey(KeyKind.ED25519, self.public_key)
        if self.ml_dsa_44 is None:
            return (ed25519,)
        return (ed25519, PublicKey(KeyKind.ML_DSA_44, self.ml_dsa_44))


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of a recording beyond being whole; None and false ask for nothing.

    Attributes:
        require_log_proof: its OPEN and SEAL are in the recorder's log of sessions.
        require_receipt: a trusted receipt says by when it was there.
        max_checkpoint_interval_s: the longest time without a signed checkpoint, in seconds.
        max_gap_s: the longest single gap, in seconds.
        allowed_gap_reasons: why there may be gaps; an empty list allows none.
        max_window_s: the longest proved time window, in seconds.
        require_ml_dsa_44: it is signed with ML-DSA-44 too, and by a key that is vouched for.
    """

    require_log_proof: bool = False
    require_receipt: bool = False
    max_checkpoint_interval_s: Seconds | None = None
    max_gap_s: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    allowed_gap_reasons: tuple[GapReason, ...] | None = None
    max_window_s: Seconds | None = None
    require_ml_dsa_44: bool = False


class TrustPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The trusted keys, authorities and rules. An empty policy trusts none and asks nothing.

    The signatures of `rotations` are verified already. `anchors` keep chains of their own.
    """

    keys: tuple[TrustedKey, ...] = ()
    rotations: tuple[Rotation, ...] = ()
    authorities: tuple[TimestampAuthority, ...] = ()
    block_headers: tuple[BlockHeader, ...] = ()
    anchors: tuple[Anchor, ...] = ()
    rules: Rules = Rules()

    def name_of(self, keys: Sequence[PublicKey]) -> str | None:
        """What the policy calls a key set; None where it does not trust it.

        A set is trusted that is in the policy, or that statements of rotation lead to from one
        that is; the name then says how many. Ed25519 keys have to be equal. ML-DSA-44 keys have
        to be equal where both sides have one; where `require_ml_dsa_44` asks for it, both must.
        """
        for held, name, steps in self._trusted():
            if self._same(held, keys):
                later = f", {steps} rotation{'s' if steps > 1 else ''} later"
                return name + later if steps else name
        return None

    def _trusted(self) -> Iterator[tuple[tuple[PublicKey, ...], str, int]]:
        """Every trusted key set with its name and number of rotations, the nearest first."""
        reached = [(key.keys, key.name, 0) for key in self.keys]
        left = list(self.rotations)
        for held, name, steps in reached:  # grows while it is walked
            yield held, name, steps
            after = [rotation for rotation in left if self._same(held, rotation.old)]
            left = [rotation for rotation in left if rotation not in after]
            reached += [(rotation.new, name, steps + 1) for rotation in after]

    def _same(self, held: Sequence[PublicKey], shown: Sequence[PublicKey]) -> bool:
        one, other = ({key.kind: key.data for key in keys} for keys in (held, shown))
        if one.get(KeyKind.ED25519) != other.get(KeyKind.ED25519):
            return False
        pair = (one.get(KeyKind.ML_DSA_44), other.get(KeyKind.ML_DSA_44))
        if None in pair:
            return not self.rules.require_ml_dsa_44
        return pair[0] == pair[1]


class _Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    public_key: str
    ml_dsa_44: str | None = None


class _Authority(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    certificate: str


class _Anchor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    public_key: str


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    keys: tuple[_Key, ...] = ()
    rotations: tuple[str, ...] = ()
    time_stamp_authorities: tuple[_Authority, ...] = ()
    block_headers: tuple[BlockHeader, ...] = ()
    anchors: tuple[_Anchor, ...] = ()
    rules: Rules = Rules()


_PARTS: dict[str, type[msgspec.Struct]] = {
    "keys": _Key,
    "time_stamp_authorities": _Authority,
    "block_headers": BlockHeader,
    "anchors": _Anchor,
    "rules": Rules,
}


def parse_policy(text: bytes) -> TrustPolicy:
    """Read a trust policy.

    Raises:
        SettingsError: it is not one; the text says where, and what was expected.
    """
    file = _decoded(text)
    return TrustPolicy(
        keys=tuple(_key(row) for row in file.keys),
        rotations=_rotations(file.rotations),
        authorities=tuple(_authority(row) for row in file.time_stamp_authorities),
        block_headers=file.block_headers,
        anchors=tuple(_anchor(row) for row in file.anchors),
        rules=file.rules,
    )


def _decoded(text: bytes) -> _File:
    if len(text) > MAX_POLICY_SIZE:
        raise SettingsError(f"trust policy: expected at most {MAX_POLICY_SIZE} bytes of YAML")
    try:
        _check_plain(yaml.compose(text.decode("utf-8"), Loader=yaml.SafeLoader))
        return msgspec.yaml.decode(text, type=_File)
    except msgspec.ValidationError as error:
        raise SettingsError(f"trust policy: {error}; {_expected(str(error))}") from error
    except (msgspec.DecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"trust policy: expected YAML with {', '.join(_File.__struct_fields__)}, got "
            f"{' '.join(str(error).split())}; see docs/verify.md"
        ) from error


def _check_plain(node: yaml.Node | None, seen: set[int] | None = None) -> None:
    """Refuse what reads differently from how it looks: keys given twice, and aliases."""
    seen = set() if seen is None else seen
    if node is None:
        return
    if id(node) in seen:
        raise ValueError(f"an alias of line {node.start_mark.line + 1}; write the value out")
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for name, value in node.value:
            if str(name.value) in names:
                raise ValueError(f"{name.value!r} twice, again in line {name.start_mark.line + 1}")
            names.add(str(name.value))
            _check_plain(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check_plain(value, seen)


def _expected(error: str) -> str:
    """The fields of the place where msgspec found an error."""
    if "allowed_gap_reasons[" in error:
        return f"expected one of {', '.join(reason.value for reason in GapReason)}"
    place = re.search(r"\$\.(\w+)", error)
    part = _PARTS.get(place[1], _File) if place else _File
    where = f"in {place[1]}" if place and part is not _File else "in the file"
    return f"expected {where}: {', '.join(part.__struct_fields__)}; see docs/verify.md"


def _key(row: _Key) -> TrustedKey:
    return TrustedKey(
        name=row.name,
        public_key=_raw(row.name, "public_key", row.public_key, KeyKind.ED25519),
        ml_dsa_44=None
        if row.ml_dsa_44 is None
        else _raw(row.name, "ml_dsa_44", row.ml_dsa_44, KeyKind.ML_DSA_44),
    )


def _anchor(row: _Anchor) -> Anchor:
    key = _raw(row.name, "public_key", row.public_key, KeyKind.ED25519)
    return Anchor(name=row.name, public_key=key)


def _raw(name: str, field: str, text: str, kind: KeyKind) -> bytes:
    size = KEY_SIZES[kind]
    try:
        if re.fullmatch(rf"[0-9A-Fa-f]{{{2 * size}}}", text):
            key = bytes.fromhex(text)
        else:
            key = base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != size:
        raise SettingsError(
            f"trust policy: key {name!r}: expected {field} as {2 * size} hexadecimal digits or as "
            f"base64 of {size} bytes, got {text[:100]!r}"
        )
    return key


def _rotations(texts: Sequence[str]) -> tuple[Rotation, ...]:
    rotations: list[Rotation] = []
    for number, text in enumerate(texts, start=1):
        try:
            signed = parse_rotation(text.encode())
            verify_rotation(signed)
        except (FormatError, ProofError) as error:
            raise SettingsError(
                f"trust policy: rotations, the {number}. statement: {error}; expected the exact "
                "text that recorder keys rotate printed"
            ) from error
        for other in rotations:
            if set(other.old) & set(signed.rotation.old) and other.new != signed.rotation.new:
                raise SettingsError(
                    f"trust policy: rotations, the {number}. statement: expected one successor of "
                    "a key, found a second one; somebody has signed with a key that is replaced: "
                    "find out which statement is true, and leave the other out"
                )
        rotations.append(signed.rotation)
    return tuple(rotations)


def _authority(row: _Authority) -> TimestampAuthority:
    try:
        return authority(row.name, row.certificate)
    except FormatError as error:
        raise SettingsError(f"trust policy: {error}") from error
