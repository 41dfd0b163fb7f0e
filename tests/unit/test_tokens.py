"""Tokens that are good, and everything that only looks like one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm
from tokens import (
    ED25519,
    JWKS,
    P256,
    RSA,
    SECRET,
    claims,
    forged,
    key_token,
    part,
    pem,
    public_pem,
    secret_token,
)

from recorder_worker.adapters.tokens.issuer import TokenIssuer, public_jwk
from recorder_worker.adapters.tokens.jwks_file import JwksFile
from recorder_worker.adapters.tokens.keyring import BadKeysError, keys_in, secret_key
from recorder_worker.adapters.tokens.verifier import MAX_TOKEN_BYTES, JwtVerifier
from recorder_worker.core.errors import KeysUnreadableError, RefusedError, TransientError

STRANGER = Ed25519PrivateKey.generate()
STRANGER_JWK = OKPAlgorithm.to_jwk(STRANGER.public_key(), as_dict=True)
ED_RAW = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@pytest.fixture
def verifier(tmp_path: Path) -> JwtVerifier:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(JWKS))
    return JwtVerifier([secret_key(SECRET)], [JwksFile(path)])


async def refusal(verifier: JwtVerifier, token: str) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await verifier.claims(token)
    return caught.value


# --- good ones -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        (SECRET, "HS256", None),
        (ED25519, "EdDSA", "ed"),
        (P256, "ES256", "ec"),
        (RSA, "RS256", "rsa"),
        (ED25519, "EdDSA", None),  # the only key of its algorithm needs no name
    ],
)
async def test_a_token_by_each_kind_of_key_holds(
    verifier: JwtVerifier,
    key: Any,  # noqa: ANN401  (whatever signs by an algorithm)
    algorithm: str,
    kid: str | None,
) -> None:
    said = claims("kim")
    token = jwt.encode(said, key, algorithm=algorithm, headers={"kid": kid} if kid else None)
    assert await verifier.claims(token) == said


async def test_times_are_not_the_verifiers_matter(verifier: JwtVerifier) -> None:
    assert (await verifier.claims(secret_token(exp=1)))["exp"] == 1


async def test_what_the_issuer_makes_holds_and_names_its_key() -> None:
    jwks = json.dumps({"keys": [public_jwk(pem(ED25519))]}).encode()
    token = TokenIssuer.of_pem(pem(ED25519)).token(claims("kim"))
    found = await JwtVerifier(keys_in(jwks), []).claims(token)
    assert found["sub"] == "kim"
    assert jwt.get_unverified_header(token)["kid"] == public_jwk(pem(ED25519))["kid"]


def test_the_id_of_a_key_is_its_thumbprint() -> None:
    # The key and the thumbprint of RFC 8037, appendix A.1 and A.3.
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    jwk = public_jwk(pem(Ed25519PrivateKey.from_private_bytes(seed)))
    assert jwk["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert jwk["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


# --- attacks -------------------------------------------------------------------------------------

GOOD = claims("kim", "SUPER_ADMIN")


def changed(token: str) -> str:
    """The claims of another, under the old signature."""
    header, _, signature = token.split(".")
    return f"{header}.{part(GOOD)}.{signature}"


def attacks() -> dict[str, str]:
    good = secret_token()
    header, payload, signature = good.split(".")
    hs, ed = {"alg": "HS256"}, {"alg": "EdDSA"}
    return {
        "empty text of dots": "..",
        "one word": "token",
        "two parts": f"{header}.{payload}",
        "four parts": f"{good}.{signature}",
        "no signature": f"{header}.{payload}.",
        "half a signature": good[:-10],
        "claims of another": changed(good),
        "claims of another, by a key": changed(key_token()),
        "the signature of another token": f"{header}.{payload}.{secret_token('jo').split('.')[2]}",
        "not base64": f"{header}.{payload}.§§§",
        "claims that are no object": forged(hs, [1], key=SECRET.encode()),
        "claims that are no JSON": forged(hs, b"\xff{", key=SECRET.encode()),
        "a header that is no object": f"{part([1])}.{payload}.{signature}",
        "a deep header": f"{part(b'[' * 5000)}.{payload}.{signature}",
        "alg none": forged({"alg": "none"}, GOOD),
        "alg None": forged({"alg": "None"}, GOOD),
        "alg nOnE of a kid": forged({"alg": "nOnE", "kid": "rsa"}, GOOD),
        "alg none, signed": forged({"alg": "none"}, GOOD, key=SECRET.encode()),
        "no alg": forged({}, GOOD, key=SECRET.encode()),
        "a list of algs": forged({"alg": ["HS256"]}, GOOD, key=SECRET.encode()),
        "another secret": forged(hs, GOOD, key=b"another secret of the same length as ours"),
        "an empty secret": forged(hs, GOOD, key=b""),
        "HS256 with the RSA key as secret": forged(hs, GOOD, key=public_pem(RSA)),
        "HS256 with the RSA key, by name": forged(hs | {"kid": "rsa"}, GOOD, key=public_pem(RSA)),
        "HS256 with the EC key, by name": forged(hs | {"kid": "ec"}, GOOD, key=public_pem(P256)),
        "HS256 with the Ed25519 key": forged(hs | {"kid": "ed"}, GOOD, key=ED_RAW),
        "HS256 with the JWK": forged(
            hs | {"kid": "ed"}, GOOD, key=json.dumps(JWKS["keys"][0]).encode()
        ),
        "the secret under a kid": forged(hs | {"kid": "x"}, GOOD, key=SECRET.encode()),
        "HS512 with the secret": jwt.encode(GOOD, SECRET * 2, algorithm="HS512"),
        "PS256 with the RSA key": jwt.encode(GOOD, RSA, algorithm="PS256", headers={"kid": "rsa"}),
        "RS512 with the RSA key": jwt.encode(GOOD, RSA, algorithm="RS512", headers={"kid": "rsa"}),
        "an unknown kid": jwt.encode(GOOD, ED25519, algorithm="EdDSA", headers={"kid": "other"}),
        "a kid that is a path": forged(hs | {"kid": "../../dev/null"}, GOOD, key=b""),
        "a kid that is no text": forged(hs | {"kid": 7}, GOOD, key=SECRET.encode()),
        "the kid of a key of another type": jwt.encode(
            GOOD, ED25519, algorithm="EdDSA", headers={"kid": "rsa"}
        ),
        "a stranger's key under our kid": jwt.encode(
            GOOD, STRANGER, algorithm="EdDSA", headers={"kid": "ed"}
        ),
        "a stranger's key in the header": jwt.encode(
            GOOD, STRANGER, algorithm="EdDSA", headers={"jwk": STRANGER_JWK}
        ),
        "a stranger's key at a URL": jwt.encode(
            GOOD,
            STRANGER,
            algorithm="EdDSA",
            headers={"jku": "http://127.0.0.1:9/jwks", "x5u": "http://127.0.0.1:9/x"},
        ),
        "EdDSA of zeros": forged(ed, GOOD, signature=bytes(64)),
        "ES256 of zeros": forged({"alg": "ES256", "kid": "ec"}, GOOD, signature=bytes(64)),
        "an extension that we do not know": jwt.encode(
            GOOD, SECRET, algorithm="HS256", headers={"crit": ["exp"], "exp": 1}
        ),
        "claims elsewhere": forged(hs | {"b64": False, "crit": ["b64"]}, b"", key=SECRET.encode()),
        "for another": secret_token(aud="another"),
        "no end": secret_token(exp=None),
        "no subject": secret_token(sub=None),
        "a subject that is no text": forged(hs, {**GOOD, "sub": 7}, key=SECRET.encode()),
        "too long": secret_token(more="x" * MAX_TOKEN_BYTES),
    }


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("attack", attacks())
async def test_what_is_no_token_of_ours_is_refused(verifier: JwtVerifier, attack: str) -> None:
    token = attacks()[attack]
    error = await refusal(verifier, token)
    assert error.refusal.field == "authorization"
    assert all((error.refusal.expected, error.refusal.got, error.refusal.hint))
    for piece in token.split("."):
        assert len(piece) < 8 or piece not in str(error), "a refusal is for everybody to read"
    assert SECRET not in str(error)


async def test_no_token_is_told_how_to_send_one(verifier: JwtVerifier) -> None:
    error = await refusal(verifier, "")
    assert error.refusal.expected == "a token, in the header Authorization: Bearer …"
    assert error.refusal.got == "none"


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ({"aud": "recorder", "iss": "https://id.example"}, True),
        ({"aud": ["x", "recorder"], "iss": "https://id.example"}, True),
        ({"aud": "recorder"}, False),
        ({"iss": "https://id.example"}, False),
        ({"aud": "Recorder", "iss": "https://id.example"}, False),
        ({"aud": ["x"], "iss": "https://id.example"}, False),
        ({"aud": [], "iss": "https://id.example"}, False),
        ({"aud": "recorder", "iss": "https://id.example/"}, False),
        ({"aud": "recorder", "iss": ["https://id.example"]}, False),
    ],
)
async def test_audience_and_issuer_are_held_to(said: dict[str, object], *, holds: bool) -> None:
    verifier = JwtVerifier(
        [secret_key(SECRET)], [], audience="recorder", issuer="https://id.example"
    )
    token = forged({"alg": "HS256"}, claims(**said), key=SECRET.encode())
    if holds:
        assert (await verifier.claims(token))["sub"] == "kim"
    else:
        await refusal(verifier, token)


# --- keys ----------------------------------------------------------------------------------------

GOOD_JWK = JWKS["keys"][0]
WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)


@pytest.mark.parametrize(
    ("jwks", "says"),
    [
        (b"", "found no JSON"),
        (b"\xff", "found no JSON"),
        (b"[" * 50_000, "found no JSON"),
        (b"[]", "found something else"),
        (b'{"keys": {}}', "found something else"),
        (b'{"keys": []}', "found none"),
        (b'{"keys": ["x"]}', "to be an object"),
        (b" " * 300_000, "at most"),
        ({"keys": [OKPAlgorithm.to_jwk(ED25519, as_dict=True)]}, "found a private key"),
        ({"keys": [GOOD_JWK, {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}]}, "or a secret"),
        ({"keys": [GOOD_JWK, {**STRANGER_JWK, "kid": "ed"}]}, "one key for each kid"),
        ({"keys": [{**GOOD_JWK, "kid": 7}]}, "every kid of the JWK Set to be text"),
        ({"keys": [{**GOOD_JWK, "x": "AAAA"}]}, "found none under kid 'ed'"),
        ({"keys": [{"kty": "RSA", "kid": "r", "n": "AA"}]}, "found none under kid 'r'"),
        ({"keys": [RSAAlgorithm.to_jwk(WEAK.public_key(), as_dict=True)]}, "strong keys"),
        ({"keys": [{**GOOD_JWK, "use": "enc"}]}, "found none"),
        ({"keys": [{**GOOD_JWK, "alg": "HS256"}]}, "found none"),
        ({"keys": [{**GOOD_JWK, "key_ops": ["sign"]}]}, "found none"),
    ],
)
def test_a_bad_jwk_set_is_refused_with_its_reason(jwks: object, says: str) -> None:
    data = jwks if isinstance(jwks, bytes) else json.dumps(jwks).encode()
    with pytest.raises(BadKeysError, match=says):
        keys_in(data)


def test_keys_for_other_purposes_are_passed_over() -> None:
    foreign = [
        {"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "x"},
        {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "y"},
        {"kty": "AKP", "kid": "z"},
        {**STRANGER_JWK, "use": "enc", "kid": "e"},
    ]
    found = keys_in(json.dumps({"keys": [*foreign, *JWKS["keys"]]}).encode())
    assert [(key.kid, key.algorithm) for key in found] == [
        ("ed", "EdDSA"),
        ("ec", "ES256"),
        ("rsa", "RS256"),
    ]


@pytest.mark.parametrize("secret", ["short", "x" * 31, public_pem(RSA).decode(), json.dumps(JWKS)])
def test_a_secret_that_is_short_or_a_key_is_refused(secret: str) -> None:
    with pytest.raises(BadKeysError) as caught:
        secret_key(secret)
    assert secret not in str(caught.value)


def test_no_key_shows_itself() -> None:
    assert SECRET not in repr(secret_key(SECRET))


async def test_a_changed_file_counts_at_once_and_a_lost_one_lets_nobody_in(tmp_path: Path) -> None:
    path, new = tmp_path / "jwks.json", tmp_path / "new.json"
    path.write_text(json.dumps(JWKS))
    verifier = JwtVerifier([], [JwksFile(path)])
    token = key_token()
    assert (await verifier.claims(token))["sub"] == "kim"

    new.write_text(json.dumps({"keys": [{**STRANGER_JWK, "kid": "ed"}]}))
    new.replace(path)
    await refusal(verifier, token)

    path.write_text("{")
    with pytest.raises(KeysUnreadableError, match=r"jwks\.json: expected a JWK Set"):
        await verifier.claims(token)
    path.unlink()
    with pytest.raises(TransientError, match="expected a readable file"):
        await verifier.claims(token)


async def test_two_keys_of_a_kind_need_a_name(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [GOOD_JWK, {**STRANGER_JWK, "kid": "two"}]}))
    verifier = JwtVerifier([], [JwksFile(path)])
    token = jwt.encode(GOOD, ED25519, algorithm="EdDSA")
    assert (await refusal(verifier, token)).refusal.expected == "a token that names its key (kid)"
    assert await verifier.claims(key_token())


def test_only_an_ed25519_key_issues(tmp_path: Path) -> None:
    for bad in (b"", b"no key", pem(RSA), public_pem(ED25519)):
        with pytest.raises(BadKeysError, match="expected an Ed25519 private key"):
            TokenIssuer.of_pem(bad)
    assert not list(tmp_path.iterdir())
