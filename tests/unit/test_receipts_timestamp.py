from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from time_stamp_authority import DAY, POLICY, TIME_STAMPING, Tsa

from recorder_worker.core.errors import FormatError, UnsupportedError
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.receipts import cms
from recorder_worker.core.receipts.authorities import authority
from recorder_worker.core.receipts.signer import SIGNING_CERTIFICATE_V2
from recorder_worker.core.receipts.timestamp import (
    SECOND_NS,
    TimestampFound,
    verify_timestamp,
)

MESSAGE = b"lab7/log\n3\nAAAA\n"


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    return Tsa(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def stamp(tsa: Tsa) -> bytes:
    return tsa.stamp(MESSAGE)


# --- what a good time-stamp says --------------------------------------------------------------


def test_a_good_response_says_time_number_policy_and_who(tsa: Tsa, stamp: bytes) -> None:
    found = verify_timestamp(stamp, MESSAGE, [tsa.trusted()])
    assert found.trusted_by == "lab"
    assert not found.why_untrusted
    assert found.authority == "CN=lab TSA"
    assert found.policy == POLICY
    assert found.digest == "sha256"
    assert found.accuracy_ns == 1_500_000_000
    assert found.earliest_ns == found.time_ns - 1_500_000_000
    assert [c.subject for c in found.chain] == ["CN=lab TSA", "CN=lab TSA issuer"]
    assert found.signer.sha256 == tsa.certificate.fingerprint(hashes.SHA256()).hex()


def test_a_time_in_whole_seconds_may_be_a_second_late(stamp: bytes) -> None:
    found = verify_timestamp(stamp, MESSAGE)
    assert found.time_ns % SECOND_NS == 0
    assert found.latest_ns == found.time_ns + 1_500_000_000 + SECOND_NS


def test_fractions_of_a_second_are_read(tmp_path: Path) -> None:
    precise = Tsa(tmp_path, precision=6, accuracy="")
    found = [verify_timestamp(precise.stamp(MESSAGE), MESSAGE) for _ in range(3)]
    assert any(f.time_ns % SECOND_NS for f in found)
    for f in found:
        assert f.accuracy_ns is None
        assert f.earliest_ns == f.time_ns


def test_a_token_by_itself_is_the_same(tsa: Tsa) -> None:
    found = verify_timestamp(tsa.stamp(MESSAGE, token=True), MESSAGE, [tsa.trusted()])
    assert found.trusted_by == "lab"


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_three_digests_are_known(tsa: Tsa, digest: str) -> None:
    assert verify_timestamp(tsa.stamp(MESSAGE, digest=digest), MESSAGE).digest == digest


def test_a_weak_imprint_is_not_taken(tmp_path: Path) -> None:
    weak = Tsa(tmp_path, digests="sha1, sha256")
    with pytest.raises(UnsupportedError, match=r"expected a digest of sha256.*found sha1"):
        verify_timestamp(weak.stamp(MESSAGE, digest="sha1"), MESSAGE)


@pytest.mark.parametrize(
    "made",
    [
        {"rsa_key": True, "signer_digest": "sha256"},
        {"rsa_key": True, "signer_digest": "sha512"},
        {"signer_digest": "sha384"},
        {"ess": "sha1"},
        {"ess": "sha512"},
    ],
    ids=str,
)
def test_what_authorities_use_is_known(tmp_path: Path, made: dict[str, object]) -> None:
    other = Tsa(tmp_path, **made)  # type: ignore[arg-type]
    assert verify_timestamp(other.stamp(MESSAGE), MESSAGE, [other.trusted()]).trusted_by == "lab"


# --- over what, and by whom -------------------------------------------------------------------


def test_a_time_stamp_of_another_file_is_refused(tsa: Tsa, stamp: bytes) -> None:
    with pytest.raises(ProofError, match=hashlib.sha256(b"other").hexdigest()):
        verify_timestamp(stamp, b"other", [tsa.trusted()])


def test_an_authority_that_nobody_vouches_for_is_a_result(stamp: bytes, tmp_path: Path) -> None:
    found = verify_timestamp(stamp, MESSAGE)
    assert found.trusted_by is None
    assert "names no time-stamp authority" in found.why_untrusted
    other = verify_timestamp(stamp, MESSAGE, [Tsa(tmp_path, name="other").trusted("another")])
    assert other.trusted_by is None
    assert "another: unable to get local issuer certificate" in other.why_untrusted


def test_a_root_of_the_same_name_is_another_root(stamp: bytes, tmp_path: Path) -> None:
    found = verify_timestamp(stamp, MESSAGE, [Tsa(tmp_path).trusted("namesake")])
    assert found.trusted_by is None
    assert "namesake: certificate signature failure" in found.why_untrusted


def test_of_several_authorities_the_right_one_is_named(
    tsa: Tsa, stamp: bytes, tmp_path: Path
) -> None:
    other = Tsa(tmp_path).trusted("another")
    assert verify_timestamp(stamp, MESSAGE, [other, tsa.trusted()]).trusted_by == "lab"


def test_the_signers_own_certificate_is_trusted_as_itself(tsa: Tsa, stamp: bytes) -> None:
    pem = tsa.certificate.public_bytes(Encoding.PEM)
    assert verify_timestamp(stamp, MESSAGE, [authority("own", pem)]).trusted_by == "own"


def test_an_intermediate_alone_is_no_anchor(tsa: Tsa, stamp: bytes) -> None:
    pem = tsa.middle.public_bytes(Encoding.PEM)
    found = verify_timestamp(stamp, MESSAGE, [authority("middle", pem)])
    assert found.trusted_by is None
    assert "neither self-signed nor the signer's" in found.why_untrusted


def test_an_intermediate_may_come_with_the_policy(tmp_path: Path) -> None:
    bare = Tsa(tmp_path, chain=False)
    stamp = bare.stamp(MESSAGE)
    assert verify_timestamp(stamp, MESSAGE, [bare.trusted()]).trusted_by is None
    pem = bare.root_pem + bare.middle.public_bytes(Encoding.PEM).decode()
    assert verify_timestamp(stamp, MESSAGE, [authority("both", pem)]).trusted_by == "both"


def test_without_the_signers_certificate_nothing_is_said(tsa: Tsa) -> None:
    stamp = tsa.stamp(MESSAGE, certificates=False)
    with pytest.raises(UnsupportedError, match=r"add it to the policy"):
        verify_timestamp(stamp, MESSAGE, [tsa.trusted()])
    pem = tsa.certificate.public_bytes(Encoding.PEM)
    assert verify_timestamp(stamp, MESSAGE, [authority("own", pem)]).trusted_by == "own"


def test_no_certificate_is_no_authority() -> None:
    with pytest.raises(FormatError, match=r"'lab': expected one or more certificates in PEM"):
        authority("lab", "hello")


# --- the certificate that signs ---------------------------------------------------------------


@pytest.mark.parametrize("valid", [(-2 * DAY, -DAY), (DAY, 2 * DAY)], ids=["expired", "early"])
def test_a_certificate_that_was_not_valid_then_is_refused(
    tmp_path: Path, valid: tuple[object, object]
) -> None:
    wrong = Tsa(tmp_path, valid=valid)  # type: ignore[arg-type]
    with pytest.raises(ProofError, match=r"was valid, from"):
        verify_timestamp(wrong.stamp(MESSAGE), MESSAGE, [wrong.trusted()])


@pytest.mark.parametrize(
    ("usages", "critical"),
    [
        ((), True),
        ((ExtendedKeyUsageOID.CODE_SIGNING,), True),
        ((*TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING), True),
        (TIME_STAMPING, False),
    ],
    ids=["none", "another", "two", "not critical"],
)
def test_a_certificate_for_something_else_is_refused(
    tsa: Tsa, stamp: bytes, usages: tuple[x509.ObjectIdentifier, ...], *, critical: bool
) -> None:
    builder = (
        x509.CertificateBuilder()
        .subject_name(tsa.certificate.subject)
        .issuer_name(tsa.certificate.issuer)
        .public_key(tsa.key.public_key())
        .serial_number(tsa.certificate.serial_number)
        .not_valid_before(tsa.certificate.not_valid_before_utc)
        .not_valid_after(tsa.certificate.not_valid_after_utc)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=critical)
    certificate = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    forged = resigned(tsa, stamp, [certificate], named=certificate)
    with pytest.raises(ProofError, match=r"expected a certificate for time-stamping"):
        verify_timestamp(forged, MESSAGE, [tsa.trusted()])


def test_the_signature_names_its_certificate(tsa: Tsa, stamp: bytes) -> None:
    """A second certificate of the same key, name and number cannot stand in for the first."""
    other = (
        x509.CertificateBuilder()
        .subject_name(tsa.certificate.subject)
        .issuer_name(tsa.certificate.issuer)
        .public_key(tsa.key.public_key())
        .serial_number(tsa.certificate.serial_number)
        .not_valid_before(tsa.certificate.not_valid_before_utc)
        .not_valid_after(tsa.certificate.not_valid_after_utc + DAY)
        .add_extension(x509.ExtendedKeyUsage(TIME_STAMPING), critical=True)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    token = cms.read_token(stamp)
    token.signed.certificates = [other]
    with pytest.raises(ProofError, match=r"expected the certificate with the digest"):
        verify_timestamp(asn1.encode_der(token), MESSAGE)


def test_a_signature_that_names_no_certificate_is_refused(tsa: Tsa, stamp: bytes) -> None:
    forged = resigned(tsa, stamp, [tsa.certificate], named=None)
    with pytest.raises(ProofError, match=r"certificate named in what is signed"):
        verify_timestamp(forged, MESSAGE)


def test_another_time_needs_another_signature(stamp: bytes) -> None:
    token = cms.read_token(stamp)
    info = token.signed.content.data
    at = info.index(b"\x18\x0f") + 2
    token.signed.content.data = info[:at] + b"19990101000000Z" + info[at + 15 :]
    with pytest.raises(ProofError, match=r"expected signed content of sha256"):
        verify_timestamp(asn1.encode_der(token), MESSAGE)


def test_a_certificate_of_the_chain_that_was_not_issued_is_refused(
    tsa: Tsa, stamp: bytes, tmp_path: Path
) -> None:
    token = cms.read_token(stamp)
    token.signed.certificates = [tsa.certificate, Tsa(tmp_path).middle]
    with pytest.raises(ProofError, match=r"its signature does not verify"):
        verify_timestamp(asn1.encode_der(token), MESSAGE)


# --- one encoding -----------------------------------------------------------------------------


def test_a_refusal_is_no_time_stamp(tmp_path: Path) -> None:
    strict = Tsa(tmp_path, digests="sha512")
    with pytest.raises(cms.TimestampRefusedError, match=r"got rejection without a token"):
        verify_timestamp(strict.stamp(MESSAGE), MESSAGE)


@pytest.mark.parametrize("status", range(1, 6))
def test_only_granted_is_granted(stamp: bytes, status: int) -> None:
    token = cms.read_token(stamp)
    response = cms.Response(
        status=cms.Status(status=status, text=["no"], failure=None), token=token
    )
    with pytest.raises(cms.TimestampRefusedError, match=r"expected the status granted"):
        verify_timestamp(asn1.encode_der(response), MESSAGE)


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda stamp: stamp + b"\0",
        lambda stamp: stamp[:-1],
        lambda _stamp: b"",
        lambda _stamp: b"\x30\x00",
        lambda _stamp: b"-----BEGIN PKCS7-----",
        lambda stamp: stamp + stamp,
        lambda _stamp: bytes(cms.MAX_TIMESTAMP_SIZE + 1),
        lambda _stamp: b"\x30\x80" * 5000,
    ],
)
def test_what_is_not_der_is_no_time_stamp(stamp: bytes, spoiled: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FormatError, match=r"time-stamp: expected"):
        verify_timestamp(spoiled(stamp), MESSAGE)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("mask", [0x01, 0x02, 0x20, 0x80])
@pytest.mark.parametrize("root", [False, True], ids=["issuer", "issuer and root"])
def test_no_flipped_bit_gives_another_time(tmp_path: Path, mask: int, *, root: bool) -> None:
    """Every byte is signed, or checked, or decides about nothing but trust.

    What the token's signature does not cover are the certificates above the signer's. Where one
    of them is changed, the token says what it said, and at most is no longer trusted.
    """
    tsa = Tsa(tmp_path, root=root)
    stamp = tsa.stamp(MESSAGE)
    trusted = [tsa.trusted()]
    right = verify_timestamp(stamp, MESSAGE, trusted)
    unsigned: set[int] = set()
    for certificate in (tsa.middle, tsa.root)[: 1 + root]:
        data = certificate.public_bytes(Encoding.DER)
        unsigned.update(range(stamp.index(data), stamp.index(data) + len(data)))
    for place in range(len(stamp)):
        changed = bytearray(stamp)
        changed[place] ^= mask
        try:
            found = verify_timestamp(bytes(changed), MESSAGE, trusted)
        except (FormatError, ProofError):
            continue
        assert place in unsigned, f"byte {place} is not held"
        assert _said(found) == _said(right), f"byte {place}"


def _said(found: TimestampFound) -> tuple[object, ...]:
    return (found.time_ns, found.accuracy_ns, found.serial, found.policy, found.signer)


def resigned(
    tsa: Tsa,
    stamp: bytes,
    certificates: list[x509.Certificate],
    *,
    named: x509.Certificate | None,
) -> bytes:
    """A token with other certificates, signed again by the authority's key."""
    token = cms.read_token(stamp)
    signer = token.signed.signers.as_list()[0]
    attributes = []
    for attribute in _attributes(signer):
        if attribute.oid != SIGNING_CERTIFICATE_V2:
            attributes.append(asn1.encode_der(attribute))
        elif named is not None:
            digest = hashlib.sha256(named.public_bytes(Encoding.DER)).digest()
            one = cms.der(0x30, cms.der(0x04, digest))
            value = cms.der(0x30, cms.der(0x30, one))
            oid = cms.der(0x06, bytes.fromhex("2a864886f70d010910022f"))
            attributes.append(cms.der(0x30, oid + cms.der(0x31, value)))
    body = b"".join(sorted(attributes))
    assert isinstance(tsa.key, ec.EllipticCurvePrivateKey)
    signature = tsa.key.sign(cms.der(0x31, body), ec.ECDSA(hashes.SHA256()))
    old = asn1.encode_der(signer)
    old_body = bytes(signer.attributes.data)
    new = old.replace(cms.der(0xA0, old_body), cms.der(0xA0, body)).replace(
        cms.der(0x04, signer.signature), cms.der(0x04, signature)
    )
    header = 4 if old[1] & 0x80 and old[1] == 0x82 else 3 if old[1] & 0x80 else 2
    info = cms.decode(cms.SignerInfo, cms.der(0x30, new[header:]), "SignerInfo")
    token.signed.signers = asn1.SetOf([info])
    token.signed.certificates = certificates
    return asn1.encode_der(token)


def _attributes(signer: cms.SignerInfo) -> list[cms.Attribute]:
    body = cms.der(0x30, cms.der(0xA0, bytes(signer.attributes.data)))
    return cms.decode(cms._Attributes, body, "attributes").items
