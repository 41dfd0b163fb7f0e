"""Checks a time-stamp (RFC 3161) over a message, offline.

What is held, apart from whom one trusts: the token is in its one encoding; its imprint is that of
the message; one signer signed it, with the certificate that its signed attributes name (RFC 5035,
so that no other certificate of the same key can stand in); that certificate is in the token or
given, is for time-stamping alone (RFC 3161 §2.3), and was valid at the token's time. Whether the
signer belongs to an authority that somebody vouches for is a result, not an error.

Not covered by the signature: the status around the token, and certificates of the chain. The
status must be `granted`. A certificate that another one in the token claims to have issued must
verify under it; a chain that does not verify is not trusted. No change of either gives another
time, imprint, serial number or signer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ObjectIdentifier
from rfc3161_client import decode_timestamp_response

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.receipts import cms
from recorder_worker.core.receipts.authorities import TimestampAuthority, trust_in
from recorder_worker.core.receipts.signer import (
    check_issued,
    check_purpose,
    check_readable,
    check_signature,
    digest_of,
    find_signer,
)

SECOND_NS = 1_000_000_000
SIGNED_DATA = ObjectIdentifier("1.2.840.113549.1.7.2")
TIMESTAMP_INFO = ObjectIdentifier("1.2.840.113549.1.9.16.1.4")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CertificateFound(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate in a token, for people. Times in nanoseconds since the Unix epoch."""

    subject: str
    issuer: str
    serial: int
    sha256: str
    not_before_ns: int
    not_after_ns: int


class TimestampFound(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified time-stamp says.

    Attributes:
        time_ns: the authority's time, nanoseconds since the Unix epoch (UTC).
        accuracy_ns: how far the authority says that its time may be off, either way; None: it
            does not say.
        earliest_ns: before this the token was not made.
        latest_ns: after this the token was not made, so the message existed by then. A time in
            whole seconds may be up to one second behind.
        serial: the token's number at the authority.
        nonce: what the one who asked gave along; None: nothing.
        authority: the subject of the certificate that signed.
        policy: under which policy, an object identifier.
        digest: algorithm of the imprint.
        signer: the certificate that signed.
        chain: all certificates in the token.
        trusted_by: the name of the trusted authority that vouches for the signer; None: none.
        why_untrusted: and why not.
    """

    time_ns: int
    accuracy_ns: int | None
    earliest_ns: int
    latest_ns: int
    serial: int
    nonce: int | None
    authority: str
    policy: str
    digest: str
    signer: CertificateFound
    chain: tuple[CertificateFound, ...]
    trusted_by: str | None
    why_untrusted: str


def verify_timestamp(
    token: bytes, message: bytes, authorities: Sequence[TimestampAuthority] = ()
) -> TimestampFound:
    """Check that a time-stamp is over a message, and say what it says.

    Args:
        token: a TimeStampResp or a token, in DER.
        message: the exact bytes that were time-stamped.
        authorities: whom one trusts; nobody's trust changes what is proved about the bytes.

    Raises:
        FormatError: it is no time-stamp in its one encoding, or a refusal.
        UnsupportedError: it uses what this program does not know, or lacks the certificate of
            its signer: nothing is said about it.
        ProofError: it is over other bytes, or its signature or its signer are not what they say.
    """
    parsed = cms.read_token(token)
    signed, signer = _checked_frame(parsed)
    info = cms.decode(cms.TimestampInfo, signed.content.data, "TSTInfo")
    _check_info(info, message)
    in_token = tuple(signed.certificates or ())
    check_readable(in_token)
    given = [c for a in authorities for c in a.certificates]
    certificate = find_signer(signer, (*in_token, *given))
    check_signature(signer, certificate, signed.content)
    time = info.time.as_datetime()
    check_purpose(certificate, time)
    check_issued(in_token)
    response = cms.canonical_response(parsed)
    _check_second_reader(response, info)
    trust = trust_in(
        response,
        signer=certificate,
        time=time,
        digest=info.imprint.digest,
        authorities=authorities,
    )
    time_ns, accuracy_ns = _nanoseconds(time), _accuracy_ns(info.accuracy)
    late_ns = SECOND_NS if time_ns % SECOND_NS == 0 else 0
    return TimestampFound(
        time_ns=time_ns,
        accuracy_ns=accuracy_ns,
        earliest_ns=time_ns - (accuracy_ns or 0),
        latest_ns=time_ns + (accuracy_ns or 0) + late_ns,
        serial=info.serial,
        nonce=info.nonce,
        authority=certificate.subject.rfc4514_string(),
        policy=info.policy.dotted_string,
        digest=digest_of(info.imprint.algorithm).name,
        signer=_found(certificate),
        chain=tuple(_found(c) for c in in_token),
        trusted_by=trust.authority,
        why_untrusted=trust.why_not,
    )


def _checked_frame(token: cms.Token) -> tuple[cms.SignedData, cms.SignerInfo]:
    """The signed data and its one signer; versions and types as RFC 3161 and RFC 5652 ask."""
    signed = token.signed
    signers = signed.signers.as_list()
    if len(signers) != 1:
        raise FormatError(f"time-stamp: expected one signer, found {len(signers)}")
    signer = signers[0]
    if (token.oid, signed.content.oid) != (SIGNED_DATA, TIMESTAMP_INFO):
        raise FormatError(
            "time-stamp: expected signed data of a TSTInfo, found "
            f"{token.oid.dotted_string} of {signed.content.oid.dotted_string}"
        )
    if (signed.version, signer.version) != (3, 1):
        raise UnsupportedError(
            f"time-stamp: expected version 3 of signed data and 1 of its signer, found "
            f"{signed.version} and {signer.version}"
        )
    if [d.oid for d in signed.digests.as_list()] != [signer.digest.oid]:
        raise FormatError("time-stamp: expected the signer's digest algorithm and no other")
    return signed, signer


def _check_info(info: cms.TimestampInfo, message: bytes) -> None:
    """The imprint is of the message, and nothing critical is unknown."""
    if info.version != 1:
        raise UnsupportedError(f"time-stamp: expected TSTInfo version 1, found {info.version}")
    for extension in info.extensions or ():
        if extension.critical:
            raise UnsupportedError(
                f"time-stamp: critical extension {extension.oid.dotted_string} is not known"
            )
    digest = digest_of(info.imprint.algorithm)
    expected = digest.of(message)
    if info.imprint.digest != expected:
        raise ProofError(
            f"time-stamp: it is for another file: expected the {digest.name} imprint "
            f"{expected.hex()}, found {info.imprint.digest.hex()}"
        )


def _check_second_reader(response: bytes, info: cms.TimestampInfo) -> None:
    """rfc3161-client reads the same bytes and has to see the same."""
    try:
        other = decode_timestamp_response(response).tst_info
        seen = (other.serial_number, other.gen_time, other.message_imprint.message)
    except ValueError as error:
        raise FormatError(f"time-stamp: rfc3161-client cannot read it: {error}") from error
    ours = (info.serial, info.time.as_datetime().replace(microsecond=0), info.imprint.digest)
    if seen != ours:
        raise FormatError(f"time-stamp: rfc3161-client reads {seen}, and here it says {ours}")


def _accuracy_ns(accuracy: cms.Accuracy | None) -> int | None:
    if accuracy is None:
        return None
    parts = (accuracy.seconds, accuracy.millis, accuracy.micros)
    seconds, millis, micros = (part or 0 for part in parts)
    if seconds < 0 or not all(p is None or 1 <= p <= 999 for p in parts[1:]):
        raise FormatError("time-stamp: expected an accuracy of seconds, 1 to 999 ms, 1 to 999 µs")
    return seconds * SECOND_NS + millis * 1_000_000 + micros * 1000


def _nanoseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def _found(certificate: x509.Certificate) -> CertificateFound:
    return CertificateFound(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=certificate.serial_number,
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before_ns=_nanoseconds(certificate.not_valid_before_utc),
        not_after_ns=_nanoseconds(certificate.not_valid_after_utc),
    )
