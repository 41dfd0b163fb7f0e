"""Checks who signed a time-stamp token, and that the signature is over its content.

Source: RFC 5652 §5.4 and §5.6 (signed attributes), RFC 5035 §3 to §5 (the certificate is named in
them), RFC 3161 §2.3 (the certificate is for time-stamping alone). The algorithms are those that
authorities use: RSA (PKCS #1 v1.5), ECDSA and Ed25519, over SHA-256, SHA-384 or SHA-512.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.receipts import cms

CONTENT_TYPE = ObjectIdentifier("1.2.840.113549.1.9.3")
MESSAGE_DIGEST = ObjectIdentifier("1.2.840.113549.1.9.4")
SIGNING_CERTIFICATE = ObjectIdentifier("1.2.840.113549.1.9.16.2.12")
SIGNING_CERTIFICATE_V2 = ObjectIdentifier("1.2.840.113549.1.9.16.2.47")
RSA = ObjectIdentifier("1.2.840.113549.1.1.1")


class Digest(msgspec.Struct, frozen=True):
    """A digest algorithm: for people, for bytes, for signatures."""

    name: str
    of: Callable[[bytes], bytes]
    algorithm: hashes.HashAlgorithm


DIGESTS: dict[ObjectIdentifier, Digest] = {
    ObjectIdentifier("2.16.840.1.101.3.4.2.1"): Digest(
        "sha256", lambda data: hashlib.sha256(data).digest(), hashes.SHA256()
    ),
    ObjectIdentifier("2.16.840.1.101.3.4.2.2"): Digest(
        "sha384", lambda data: hashlib.sha384(data).digest(), hashes.SHA384()
    ),
    ObjectIdentifier("2.16.840.1.101.3.4.2.3"): Digest(
        "sha512", lambda data: hashlib.sha512(data).digest(), hashes.SHA512()
    ),
}
_SHA256 = next(iter(DIGESTS))

_SIGNATURES: dict[ObjectIdentifier, tuple[type, str | None]] = {
    RSA: (rsa.RSAPublicKey, None),
    SignatureAlgorithmOID.RSA_WITH_SHA256: (rsa.RSAPublicKey, "sha256"),
    SignatureAlgorithmOID.RSA_WITH_SHA384: (rsa.RSAPublicKey, "sha384"),
    SignatureAlgorithmOID.RSA_WITH_SHA512: (rsa.RSAPublicKey, "sha512"),
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: (ec.EllipticCurvePublicKey, "sha256"),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: (ec.EllipticCurvePublicKey, "sha384"),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: (ec.EllipticCurvePublicKey, "sha512"),
    SignatureAlgorithmOID.ED25519: (ed25519.Ed25519PublicKey, None),
}
"""The kind of key and the digest that each signature algorithm stands for; None: any."""


def digest_of(algorithm: cms.Algorithm) -> Digest:
    """A digest algorithm by its identifier.

    Raises:
        UnsupportedError: it is too weak, or unknown.
    """
    try:
        return DIGESTS[algorithm.oid]
    except KeyError:
        names = ", ".join(digest.name for digest in DIGESTS.values())
        raise UnsupportedError(
            f"time-stamp: expected a digest of {names}, found {_named(algorithm.oid)}"
        ) from None


def check_readable(certificates: Iterable[x509.Certificate]) -> None:
    """Check that certificates can be read to their ends: the library looks at parts when asked.

    Raises:
        FormatError: one cannot.
    """
    for certificate in certificates:
        try:
            _ = (
                certificate.version,
                certificate.serial_number,
                certificate.subject.rfc4514_string(),
                certificate.issuer.rfc4514_string(),
                certificate.not_valid_before_utc,
                certificate.not_valid_after_utc,
                certificate.extensions,
                certificate.signature_algorithm_oid,
            )
        except (ValueError, x509.InvalidVersion, x509.DuplicateExtension) as error:
            raise FormatError(
                f"time-stamp: a certificate in it cannot be read: {str(error)[:200]}"
            ) from error


def find_signer(
    signer: cms.SignerInfo, certificates: Iterable[x509.Certificate]
) -> x509.Certificate:
    """The certificate that a signer names by issuer and serial number.

    Raises:
        UnsupportedError: it is not there, so that nothing can be said of the signature.
    """
    issuer = cms.der(0x30, bytes(signer.signer.issuer.data))
    for certificate in certificates:
        if (
            certificate.serial_number == signer.signer.serial
            and certificate.issuer.public_bytes() == issuer
        ):
            return certificate
    raise UnsupportedError(
        "time-stamp: expected the signer's certificate in the token or in the policy, found "
        f"none with serial number {signer.signer.serial}; add it to the policy"
    )


def check_signature(
    signer: cms.SignerInfo, certificate: x509.Certificate, content: cms.Content
) -> None:
    """Check that the holder of a certificate signed a content.

    Raises:
        FormatError: the signed attributes are not what they have to be.
        UnsupportedError: an algorithm is unknown.
        ProofError: the signature, the content's digest or the certificate's digest is another.
    """
    message, attributes = cms.signed_attributes(signer)
    digest = digest_of(signer.digest)
    kind = _attribute(attributes, CONTENT_TYPE, ObjectIdentifier)
    if kind != content.oid:
        raise ProofError(f"time-stamp: expected {content.oid.dotted_string} signed, got {kind}")
    signed_digest = _attribute(attributes, MESSAGE_DIGEST, bytes)
    if signed_digest != digest.of(content.data):
        raise ProofError(
            f"time-stamp: expected signed content of {digest.name} {signed_digest.hex()}, found "
            f"{digest.of(content.data).hex()}"
        )
    _check_named(attributes, certificate)
    _check_bytes(signer, certificate, digest, message)


def check_purpose(certificate: x509.Certificate, time: datetime) -> None:
    """Check that a certificate is for time-stamping alone, and was valid at a time.

    Raises:
        ProofError: it is not, or was not.
    """
    name = certificate.subject.rfc4514_string()
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise ProofError(
            f"time-stamp: expected a certificate for time-stamping, {name} does not say so"
        ) from error
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise ProofError(
            f"time-stamp: expected a certificate for time-stamping alone, marked critical; {name} "
            f"is for {', '.join(_named(oid) for oid in usage.value)}"
            f"{'' if usage.critical else ', not critical'}"
        )
    if not certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc:
        raise ProofError(
            f"time-stamp: expected a time at which the certificate of {name} was valid, from "
            f"{certificate.not_valid_before_utc.isoformat()} to "
            f"{certificate.not_valid_after_utc.isoformat()}, got {time.isoformat()}"
        )


def check_issued(certificates: Iterable[x509.Certificate]) -> None:
    """Check that certificates of one token that claim to issue each other did.

    Raises:
        ProofError: one did not.
    """
    known = list(certificates)
    for certificate in known:
        issuers = [c for c in known if c.subject == certificate.issuer]
        if issuers and not any(_issued(certificate, by=issuer) for issuer in issuers):
            raise ProofError(
                f"time-stamp: expected the certificate of {certificate.subject.rfc4514_string()} "
                f"signed by {certificate.issuer.rfc4514_string()}, its signature does not verify"
            )


def _issued(certificate: x509.Certificate, *, by: x509.Certificate) -> bool:
    """Whether a signature holds. What is too old or too new to be told is not held against it."""
    try:
        certificate.verify_directly_issued_by(by)
    except InvalidSignature:
        return False
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return True
    return True


def _attribute(
    attributes: dict[ObjectIdentifier, cms.Value], oid: ObjectIdentifier, kind: type[cms.T]
) -> cms.T:
    if oid not in attributes:
        raise FormatError(f"time-stamp: expected the signed attribute {oid.dotted_string}")
    return cms.parse(attributes[oid], kind, f"the signed attribute {oid.dotted_string}")


def _check_named(
    attributes: dict[ObjectIdentifier, cms.Value], certificate: x509.Certificate
) -> None:
    """The signed attributes name the certificate by its digest: in version 2, 1, or both."""
    data = certificate.public_bytes(Encoding.DER)
    versions = [v for v in (SIGNING_CERTIFICATE_V2, SIGNING_CERTIFICATE) if v in attributes]
    if not versions:
        raise ProofError("time-stamp: expected the signer's certificate named in what is signed")
    for version in versions:
        named = _attribute(attributes, version, cms.SigningCertificate).certificates
        if not named:
            raise FormatError("time-stamp: expected the digest of a certificate, found none")
        if version == SIGNING_CERTIFICATE:
            # RFC 5816 §2.2.1: SHA-1 here names a certificate that has to verify all the same.
            found = hashlib.sha1(data, usedforsecurity=False).digest()
        else:
            found = digest_of(named[0].algorithm or _default_algorithm()).of(data)
        if named[0].digest != found:
            raise ProofError(
                f"time-stamp: expected the certificate with the digest {named[0].digest.hex()}, "
                f"found {found.hex()}"
            )


def _default_algorithm() -> cms.Algorithm:
    return cms.Algorithm(oid=_SHA256, parameters=None)


def _check_bytes(
    signer: cms.SignerInfo, certificate: x509.Certificate, digest: Digest, message: bytes
) -> None:
    kind, over = _SIGNATURES.get(signer.algorithm.oid, (None, None))
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnsupportedError(f"time-stamp: the signer's key cannot be read: {error}") from error
    if kind is None:
        raise UnsupportedError(
            f"time-stamp: signature algorithm {_named(signer.algorithm.oid)} is not known"
        )
    if not isinstance(key, kind) or over not in {None, digest.name}:
        raise ProofError(
            f"time-stamp: expected {_named(signer.algorithm.oid)} to fit {digest.name} and a key "
            f"of {type(key).__name__}"
        )
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signer.signature, message, padding.PKCS1v15(), digest.algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signer.signature, message, ec.ECDSA(digest.algorithm))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signer.signature, message)
    except (InvalidSignature, ValueError, UnsupportedAlgorithm) as error:
        raise ProofError(
            f"time-stamp: the signature of {certificate.subject.rfc4514_string()} does not verify"
        ) from error


def _named(oid: ObjectIdentifier) -> str:
    return f"{oid._name} ({oid.dotted_string})"  # noqa: SLF001  (it has no public name)
