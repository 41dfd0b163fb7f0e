"""The structures of a time-stamp token, read from DER in their one encoding.

RFC 3161 §2.4.2 (TimeStampResp, TSTInfo) inside RFC 5652 §5 (SignedData), with the attributes of
RFC 5035 and RFC 5816 that name the signer's certificate. Only what a time-stamp needs is here: one
signer, named by issuer and serial number, with signed attributes.

Certificates are the one place where the order is not DER's: authorities write them as they come,
and no signature covers the set.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from cryptography.hazmat import asn1
from cryptography.x509 import Certificate, InvalidVersion, ObjectIdentifier

from recorder_worker.core.errors import FormatError

T = TypeVar("T")
Value = asn1.TLV

MAX_TIMESTAMP_SIZE = 65_535
"""Bytes: what fits into OPEN."""

GRANTED = 0
_STATUS = (
    "granted",
    "granted with modifications",
    "rejection",
    "waiting",
    "revocation warning",
    "revocation notification",
)


class TimestampRefusedError(FormatError):
    """The authority answered, and gave no time-stamp."""


@asn1.sequence
class Algorithm:
    """AlgorithmIdentifier, of algorithms that have no parameters."""

    oid: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class Attribute:
    """A signed attribute."""

    oid: ObjectIdentifier
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class SignerName:
    """IssuerAndSerialNumber. `issuer` is the Name as it stands."""

    issuer: asn1.TLV
    serial: int


@asn1.sequence
class SignerInfo:
    """RFC 5652 §5.3. `attributes` are the signed ones, `[0]`, as they stand."""

    version: int
    signer: SignerName
    digest: Algorithm
    attributes: asn1.TLV
    algorithm: Algorithm
    signature: bytes
    unsigned: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]


@asn1.sequence
class Content:
    """EncapsulatedContentInfo."""

    oid: ObjectIdentifier
    data: Annotated[bytes, asn1.Explicit(0)]


@asn1.sequence
class SignedData:
    """RFC 5652 §5.1."""

    version: int
    digests: asn1.SetOf[Algorithm]
    content: Content
    certificates: Annotated[list[Certificate] | None, asn1.Implicit(0)]
    lists: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]
    signers: asn1.SetOf[SignerInfo]


@asn1.sequence
class Token:
    """TimeStampToken: a ContentInfo of SignedData."""

    oid: ObjectIdentifier
    signed: Annotated[SignedData, asn1.Explicit(0)]


@asn1.sequence
class Status:
    """PKIStatusInfo."""

    status: int
    text: list[str] | None
    failure: asn1.BitString | None


@asn1.sequence
class Response:
    """TimeStampResp."""

    status: Status
    token: Token | None


@asn1.sequence
class Imprint:
    """MessageImprint."""

    algorithm: Algorithm
    digest: bytes


@asn1.sequence
class Accuracy:
    """Seconds, 1 to 999 milliseconds, 1 to 999 microseconds."""

    seconds: int | None
    millis: Annotated[int | None, asn1.Implicit(0)]
    micros: Annotated[int | None, asn1.Implicit(1)]


@asn1.sequence
class Extension:
    """An X.509 extension."""

    oid: ObjectIdentifier
    critical: Annotated[bool, asn1.Default(False)]
    value: bytes


@asn1.sequence
class TimestampInfo:
    """TSTInfo. `name` is the `[0]` GeneralName: one element, the name as it stands."""

    version: int
    policy: ObjectIdentifier
    imprint: Imprint
    serial: int
    time: asn1.GeneralizedTime
    accuracy: Accuracy | None
    ordering: Annotated[bool, asn1.Default(False)]
    nonce: int | None
    name: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)]
    extensions: Annotated[list[Extension] | None, asn1.Implicit(1)]


@asn1.sequence
class IssuerSerial:
    """GeneralNames and a serial number."""

    issuer: list[asn1.TLV]
    serial: int


@asn1.sequence
class CertificateDigest:
    """ESSCertIDv2 (RFC 5035 §4): the digest is SHA-256 where no algorithm is named."""

    algorithm: Algorithm | None
    digest: bytes
    issuer_serial: IssuerSerial | None


@asn1.sequence
class SigningCertificate:
    """SigningCertificateV2; the first is the signer's. Version 1 differs in its SHA-1 digests."""

    certificates: list[CertificateDigest]
    policies: list[asn1.TLV] | None


@asn1.sequence
class _Attributes:
    items: Annotated[list[Attribute], asn1.Implicit(0)]


def decode(kind: type[T], data: bytes, what: str) -> T:
    """Read one structure, with nothing behind it. Raises FormatError."""
    try:
        return asn1.decode_der(kind, data)
    except (ValueError, TypeError, OverflowError, InvalidVersion) as error:
        shown = " ".join(str(error).split())
        raise FormatError(f"time-stamp: expected {what} in DER: {shown}") from error


def parse(value: Value, kind: type[T], what: str) -> T:
    """Read an element that was left as it stands. Raises FormatError."""
    return decode(kind, der(value.tag_bytes[0], bytes(value.data)), what)


def read_token(data: bytes) -> Token:
    """The token of a TimeStampResp that was granted, or a token by itself.

    Raises:
        TimestampRefusedError: the response says that there is none.
        FormatError: it is neither.
    """
    if len(data) > MAX_TIMESTAMP_SIZE:
        raise FormatError(
            f"time-stamp: expected at most {MAX_TIMESTAMP_SIZE} bytes, got {len(data)}"
        )
    try:
        return decode(Token, data, "a token")
    except FormatError as no_token:
        try:
            response = decode(Response, data, "a TimeStampResp")
        except FormatError as no_response:
            raise FormatError(f"{no_response}; or a token: {no_token}") from no_response
    if response.status.status != GRANTED or response.token is None:
        raise TimestampRefusedError(
            f"time-stamp: expected the status granted and a token, got {_said(response)}"
        )
    return response.token


def _said(response: Response) -> str:
    status = response.status.status
    name = _STATUS[status] if 0 <= status < len(_STATUS) else f"status {status}"
    text = "; ".join(response.status.text or ())
    token = "" if response.token else " without a token"
    return f"{name}{token}{f' ({text[:200]})' if text else ''}"


def signed_attributes(signer: SignerInfo) -> tuple[bytes, dict[ObjectIdentifier, Value]]:
    """What the signature is over, and the attributes, each of which has one value.

    Source: RFC 5652 §5.4: signed is the DER of the attributes with the tag of a SET OF.

    Raises:
        FormatError: they are not there, or one is doubled.
    """
    if bytes(signer.attributes.tag_bytes) != b"\xa0":
        raise FormatError("time-stamp: expected signed attributes, found none")
    body = bytes(signer.attributes.data)
    items = decode(_Attributes, der(0x30, der(0xA0, body)), "signed attributes").items
    found: dict[ObjectIdentifier, Value] = {}
    for item in items:
        values = item.values.as_list()
        if item.oid in found or len(values) != 1:
            raise FormatError(
                f"time-stamp: expected the signed attribute {item.oid.dotted_string} once, with "
                f"one value"
            )
        found[item.oid] = values[0]
    return der(0x31, body), found


def der(tag: int, body: bytes) -> bytes:
    """One element: tag, length in its shortest form, body."""
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def canonical_response(token: Token) -> bytes:
    """A granted TimeStampResp around a token, its certificates in the order of DER."""
    signed = token.signed
    ordered = Token(
        oid=token.oid,
        signed=SignedData(
            version=signed.version,
            digests=signed.digests,
            content=signed.content,
            certificates=sorted(signed.certificates or [], key=_encoded) or None,
            lists=signed.lists,
            signers=signed.signers,
        ),
    )
    status = Status(status=GRANTED, text=None, failure=None)
    return asn1.encode_der(Response(status=status, token=ordered))


def _encoded(certificate: Certificate) -> bytes:
    return asn1.encode_der(certificate)
