"""A trust.yaml is read strictly, and a key is trusted by itself or by a chain of statements."""

from __future__ import annotations

import base64
import datetime as dt
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from rotations import keys_of, rotated

from recorder_worker.core.errors import SettingsError
from recorder_worker.core.model import GapReason
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey
from recorder_worker.core.verify.policy import Rules, TrustedKey, TrustPolicy, parse_policy

EXAMPLE = Path(__file__).parents[2] / "config" / "trust.yaml.example"
KEY = keys_of(1)[0].data
PAIR = keys_of(1, ml_dsa=True)
ML_DSA = PAIR[1].data
HEX = KEY.hex()


def certificate(name: str = "tsa.example") -> str:
    key = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=365))
        .sign(key, None)
    )
    return built.public_bytes(serialization.Encoding.PEM).decode()


def block(text: str, indent: int) -> str:
    """A text as a YAML block scalar."""
    return "|\n" + "".join(
        f"{' ' * indent}{line}\n" if line else "\n" for line in text.split("\n")[:-1]
    )


def policy_of(*statements: bytes, rules: str = "", ml_dsa: bool = False) -> TrustPolicy:
    """The device of seed 1 is trusted as lab 7."""
    text = f'keys:\n  - name: lab 7\n    public_key: "{HEX}"\n'
    if ml_dsa:
        text += f"    ml_dsa_44: {base64.b64encode(ML_DSA).decode()}\n"
    if statements:
        text += "rotations:\n" + "".join(f"  - {block(s.decode(), 4)}" for s in statements)
    return parse_policy((text + rules).encode())


# --- the whole file -------------------------------------------------------------------------------


def test_every_part_is_read() -> None:
    text = (
        f'keys:\n  - name: a\n    public_key: "{HEX}"\n'
        f"    ml_dsa_44: {base64.b64encode(ML_DSA).decode()}\n"
        f"  - {{name: b, public_key: {base64.b64encode(KEY).decode()}}}\n"
        f"rotations:\n  - {block(rotated(1, 2).decode(), 4)}"
        f"time_stamp_authorities:\n  - name: tsa\n    certificate: {block(certificate(), 6)}"
        f'block_headers:\n  - {{height: 7, merkle_root: "{"0a" * 32}", time: 1231006505}}\n'
        "rules:\n  require_log_proof: true\n  require_receipt: true\n"
        "  max_checkpoint_interval_s: 5\n  max_gap_s: 0\n"
        "  allowed_gap_reasons: [pause, source_lost]\n  max_window_s: 86400.5\n"
        "  require_ml_dsa_44: true\n"
    )
    policy = parse_policy(text.encode())
    assert policy.keys == (
        TrustedKey(name="a", public_key=KEY, ml_dsa_44=ML_DSA),
        TrustedKey(name="b", public_key=KEY),
    )
    assert [(r.old, r.new) for r in policy.rotations] == [(keys_of(1), keys_of(2))]
    (authority,) = policy.authorities
    assert authority.name == "tsa"
    assert [c.serial_number for c in authority.certificates] == [7]
    assert [(h.height, h.merkle_root, h.time) for h in policy.block_headers] == [
        (7, "0a" * 32, 1231006505)
    ]
    assert policy.rules == Rules(
        require_log_proof=True,
        require_receipt=True,
        max_checkpoint_interval_s=5.0,
        max_gap_s=0.0,
        allowed_gap_reasons=(GapReason.PAUSE, GapReason.SOURCE_LOST),
        max_window_s=86400.5,
        require_ml_dsa_44=True,
    )


def test_all_parts_are_optional_and_ask_for_nothing() -> None:
    policy = parse_policy(b"{}")
    assert policy == TrustPolicy()
    assert policy.rules == Rules()
    assert policy.name_of(keys_of(1)) is None


def test_the_example_names_every_field_and_is_a_policy() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert parse_policy(text.encode()).keys
    for name in (
        *("keys", "rotations", "time_stamp_authorities", "block_headers", "rules"),
        *("name", "public_key", "ml_dsa_44", "certificate", "height", "merkle_root", "time"),
        *Rules.__struct_fields__,
    ):
        assert f"{name}:" in text, name
    for reason in GapReason:
        assert reason.value in text


WRONG: dict[str, tuple[str, list[str]]] = {
    "empty": ("", ["expected in the file: keys, rotations"]),
    "a list": ("- a", ["expected in the file: keys, rotations"]),
    "a text": ("not a policy", ["Expected `object`, got `str`"]),
    "not YAML": ("keys: [", ["expected YAML with keys, rotations"]),
    "the TOML of before": (f"[[keys]]\nname = 'a'\npublic_key = '{HEX}'\n", ["expected YAML"]),
    "two documents": ("{}\n---\n{}", ["expected YAML"]),
    "an unknown part": ("kyes: []", ["`kyes`", "keys, rotations, time_stamp_authorities"]),
    "keys is no list": ("keys: 1", ["Expected `array`, got `int`", "$.keys"]),
    "an unknown field of a key": (
        f'keys: [{{name: a, public_key: "{HEX}", key: b}}]',
        ["`key`", "expected in keys: name, public_key, ml_dsa_44"],
    ),
    "no public key": ("keys: [{name: a}]", ["`public_key`", "$.keys[0]"]),
    "no name": (f'keys: [{{public_key: "{HEX}"}}]', ["`name`", "$.keys[0]"]),
    "an empty name": (f'keys: [{{name: "", public_key: "{HEX}"}}]', ["length >= 1"]),
    "a name that is a number": (f'keys: [{{name: 7, public_key: "{HEX}"}}]', ["Expected `str`"]),
    "a short key": ("keys: [{name: a, public_key: ab}]", ["'a'", "64 hexadecimal", "'ab'"]),
    "a key that is not hexadecimal": (
        f'keys: [{{name: a, public_key: "{"zz" * 32}"}}]',
        ["64 hexadecimal digits or as base64 of 32 bytes"],
    ),
    "a key with a space in its digits": (
        f'keys: [{{name: a, public_key: "{HEX[:30]} {HEX[31:]}"}}]',
        ["64 hexadecimal digits"],
    ),
    "a key of digits without quotes": (
        f"keys: [{{name: a, public_key: {'1' * 64}}}]",
        ["Expected `str`, got `int`"],
    ),
    "an ML-DSA key of another size": (
        f'keys: [{{name: a, public_key: "{HEX}", ml_dsa_44: "{HEX}"}}]',
        ["'a'", "ml_dsa_44 as 2624 hexadecimal digits or as base64 of 1312 bytes"],
    ),
    "a part twice": ("keys: []\nkeys: []", ["'keys' twice", "line 2"]),
    "a field twice": (f'keys: [{{name: a, name: b, public_key: "{HEX}"}}]', ["'name' twice"]),
    "an alias": (
        f'keys: [&k {{name: a, public_key: "{HEX}"}}, *k]',
        ["an alias", "write the value out"],
    ),
    "an alias of itself": ("keys: &k [*k]", ["an alias"]),
    "a bottomless list": ("[" * 5000, ["expected YAML"]),
    "a tag": ("keys: !!python/object:os.system []", ["expected YAML"]),
    "a rotation that is none": ("rotations: [hello]", ["the 1. statement", "key rotation v1"]),
    "a rotation that is folded": (
        f"rotations:\n  - >\n{block(rotated(1, 2).decode(), 4)[2:]}",
        ["the 1. statement", "begins with |"],
    ),
    "an authority that is none": (
        "time_stamp_authorities: [{name: a, certificate: b}]",
        ["time-stamp authority 'a'", "BEGIN CERTIFICATE"],
    ),
    "a header without time": (
        "block_headers: [{height: 1, merkle_root: a}]",
        ["expected in block_headers: height, merkle_root, time"],
    ),
    "a rule that is none": ("rules: {max_gap: 1}", ["`max_gap`", "max_gap_s", "max_window_s"]),
    "a rule of another type": ("rules: {require_receipt: 1}", ["Expected `bool`, got `int`"]),
    "yes in quotes": ('rules: {require_receipt: "yes"}', ["Expected `bool`, got `str`"]),
    "a negative limit": ("rules: {max_gap_s: -1}", ["`float` >= 0"]),
    "a limit of zero": ("rules: {max_window_s: 0}", ["`float` > 0"]),
    "a limit that is no number": ("rules: {max_window_s: .nan}", ["max_window_s"]),
    "a limit without end": ("rules: {max_gap_s: .inf}", ["max_gap_s"]),
    "a reason that is none": (
        "rules: {allowed_gap_reasons: [lunch]}",
        ["'lunch'", "expected one of pause, source_lost, back_pressure, disk, crash"],
    ),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_is_not_a_policy_is_refused_with_what_was_expected(
    text: str, words: list[str]
) -> None:
    with pytest.raises(SettingsError) as raised:
        parse_policy(text.encode())
    assert str(raised.value).startswith("trust policy: ")
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize("text", [b"\xff\xfe", b"keys: [\xe9]", "keys: []".encode("utf-16")])
def test_a_policy_is_utf_8(text: bytes) -> None:
    with pytest.raises(SettingsError, match="expected YAML"):
        parse_policy(text)


def test_a_policy_has_a_size() -> None:
    with pytest.raises(SettingsError, match="at most"):
        parse_policy(b"#" * (4 * 1024 * 1024 + 1))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_whatever_do_more_than_be_refused(data: bytes) -> None:
    try:
        policy = parse_policy(data)
    except SettingsError:
        return
    assert policy.name_of(keys_of(1)) is None


# --- who is trusted -------------------------------------------------------------------------------


def test_a_key_is_found_in_every_notation() -> None:
    encoded = base64.b64encode(KEY).decode()
    for written in (f'"{HEX}"', f'"{HEX.upper()}"', encoded, block(encoded + "\n", 6)):
        policy = parse_policy(f"keys:\n  - name: a\n    public_key: {written}\n".encode())
        assert policy.name_of(keys_of(1)) == "a"
        assert policy.name_of(keys_of(2)) is None
        assert policy.name_of(()) is None


def test_the_first_of_two_names_counts() -> None:
    policy = TrustPolicy(
        keys=(TrustedKey(name="a", public_key=KEY), TrustedKey(name="b", public_key=KEY))
    )
    assert policy.name_of(keys_of(1)) == "a"


@pytest.mark.parametrize(
    ("vouched", "shown", "trusted", "with_rule"),
    [
        (False, keys_of(1), True, False),
        (False, PAIR, True, False),
        (True, keys_of(1), True, False),
        (True, PAIR, True, True),
        (True, (PAIR[0], keys_of(2, ml_dsa=True)[1]), False, False),
        (True, (keys_of(2)[0], PAIR[1]), False, False),
        (True, PAIR[1:], False, False),
        (False, PAIR[1:], False, False),
    ],
)
def test_an_ml_dsa_key_has_to_be_the_same_where_there_are_two(
    vouched: bool, shown: tuple[PublicKey, ...], trusted: bool, with_rule: bool
) -> None:
    policy = policy_of(ml_dsa=vouched)
    assert (policy.name_of(shown) == "lab 7") is trusted
    rules = policy_of(ml_dsa=vouched, rules="rules: {require_ml_dsa_44: true}\n")
    assert (rules.name_of(shown) == "lab 7") is with_rule


def test_a_chain_of_statements_leads_to_a_key_in_whatever_order_they_stand() -> None:
    chain = [rotated(1, 2), rotated(2, 3), rotated(3, 4)]
    for statements in (chain, chain[::-1], [chain[1], chain[0], chain[2]]):
        policy = policy_of(*statements)
        assert policy.name_of(keys_of(1)) == "lab 7"
        assert policy.name_of(keys_of(2)) == "lab 7, 1 rotation later"
        assert policy.name_of(keys_of(4)) == "lab 7, 3 rotations later"
        assert policy.name_of(keys_of(5)) is None


def test_a_chain_does_not_lead_backwards_nor_over_a_hole() -> None:
    policy = policy_of(rotated(2, 1), rotated(3, 4))
    assert policy.name_of(keys_of(1)) == "lab 7"
    for seed in (2, 3, 4):
        assert policy.name_of(keys_of(seed)) is None


def test_a_circle_of_statements_ends() -> None:
    policy = policy_of(rotated(1, 2), rotated(2, 3), rotated(3, 1))
    assert policy.name_of(keys_of(1)) == "lab 7"
    assert policy.name_of(keys_of(3)) == "lab 7, 2 rotations later"
    assert policy.name_of(keys_of(9)) is None


def test_a_chain_may_lead_from_one_key_to_two_and_the_rule_asks_for_two_throughout() -> None:
    on = rotated(1, 2, new_ml_dsa=True)
    both = rotated(1, 2, old_ml_dsa=True, new_ml_dsa=True)
    rule = "rules: {require_ml_dsa_44: true}\n"
    after = keys_of(2, ml_dsa=True)
    assert policy_of(on).name_of(after) == "lab 7, 1 rotation later"
    assert policy_of(on, ml_dsa=True, rules=rule).name_of(after) is None
    assert policy_of(both, ml_dsa=True, rules=rule).name_of(after) == "lab 7, 1 rotation later"
    assert policy_of(both, rules=rule).name_of(after) is None
    swapped = (after[0], PublicKey(KeyKind.ML_DSA_44, ML_DSA))
    assert policy_of(both, ml_dsa=True).name_of(swapped) is None


def test_a_forged_statement_is_refused() -> None:
    forged = rotated(3, 2).replace(
        base64.b64encode(keys_of(3)[0].data), base64.b64encode(keys_of(1)[0].data)
    )
    with pytest.raises(SettingsError, match="does not verify"):
        policy_of(forged)


def test_two_successors_of_one_key_are_refused_and_the_same_statement_twice_is_not() -> None:
    """Whoever stole a replaced key can make a second statement; nobody can tell which is true."""
    with pytest.raises(SettingsError, match=r"the 2\. statement: expected one successor"):
        policy_of(rotated(1, 2), rotated(1, 3))
    assert policy_of(rotated(1, 2), rotated(1, 2)).name_of(keys_of(2))


def test_a_policy_is_plain_to_make_in_a_program() -> None:
    policy = TrustPolicy(keys=(TrustedKey(name="a", public_key=KEY, ml_dsa_44=ML_DSA),))
    assert policy.name_of(PAIR) == "a"
    assert policy.keys[0].keys == PAIR
    assert msgspec.structs.replace(policy, rules=Rules(require_receipt=True)).rules.require_receipt
