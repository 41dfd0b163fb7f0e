"""Time-stamp authorities that somebody vouches for, and whether a token's signer is theirs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import msgspec
from cryptography import x509
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

from recorder_worker.core.errors import FormatError

_REASON = re.compile(r"Verify error: ?([^\"]+)")


class TimestampAuthority(msgspec.Struct, frozen=True):
    """A name and certificates: of the authority's root, with intermediates, or its own.

    A self-signed certificate vouches for all that it issued. Any other is trusted where it is
    itself the signer's.
    """

    name: str
    certificates: tuple[x509.Certificate, ...]


def authority(name: str, pem: str | bytes) -> TimestampAuthority:
    """An authority from its certificates in PEM.

    Raises:
        FormatError: there is no certificate in it.
    """
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise FormatError(
            f"time-stamp authority {name!r}: expected one or more certificates in PEM "
            f"(BEGIN CERTIFICATE), got {error}"
        ) from error
    return TimestampAuthority(name, tuple(certificates))


class Trust(msgspec.Struct, frozen=True):
    """The authority that vouches for a signer; None, and why not."""

    authority: str | None
    why_not: str = ""


def trust_in(
    response: bytes,
    *,
    signer: x509.Certificate,
    time: datetime,
    digest: bytes,
    authorities: Sequence[TimestampAuthority],
) -> Trust:
    """Whether one of the authorities vouches for a token whose signature is verified already.

    The chain is built from the certificates in the token and has to be valid at its time.

    Args:
        response: a TimeStampResp in DER, its certificates in DER's order.
        signer: the certificate that signed it.
        time: the token's time.
        digest: what the token is over.
        authorities: who is trusted.
    """
    reasons = []
    for candidate in authorities:
        why_not = _refusal(response, signer=signer, time=time, digest=digest, by=candidate)
        if why_not is None:
            return Trust(candidate.name)
        reasons.append(f"{candidate.name}: {why_not}")
    return Trust(None, "; ".join(reasons) or "the policy names no time-stamp authority")


def _refusal(
    response: bytes,
    *,
    signer: x509.Certificate,
    time: datetime,
    digest: bytes,
    by: TimestampAuthority,
) -> str | None:
    """Why an authority does not vouch for a signer; None where it does."""
    if signer in by.certificates:
        return None
    roots = [c for c in by.certificates if c.issuer == c.subject]
    if not roots:
        return "its certificate is neither self-signed nor the signer's"
    builder = VerifierBuilder()
    for certificate in dict.fromkeys(by.certificates):
        if certificate in roots:
            if not _valid_at(certificate, time):
                return f"its certificate is not valid at {time.isoformat()}"
            builder = builder.add_root_certificate(certificate)
        else:
            builder = builder.add_intermediate_certificate(certificate)
    try:
        builder.build().verify(decode_timestamp_response(response), digest)
    except (VerificationError, ValueError) as error:
        # OpenSSL's reason stands deep inside the text of its error stack.
        reason = _REASON.search(str(error))
        return reason[1] if reason else " ".join(str(error).split())[:300]
    return None


def _valid_at(certificate: x509.Certificate, time: datetime) -> bool:
    return certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc
