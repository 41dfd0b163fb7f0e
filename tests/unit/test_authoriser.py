"""Who may do what: roles, owners, times, and tokens that are revoked."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import pytest
from tokens import SECRET, secret_token

from recorder_worker.adapters.tokens.keyring import secret_key
from recorder_worker.adapters.tokens.verifier import JwtVerifier
from recorder_worker.core.access.identity import NOBODY, ROLES, Identity
from recorder_worker.core.access.revocation import (
    UNREADABLE,
    Revocation,
    key_of_subject,
    key_of_token,
    revocation_in,
)
from recorder_worker.core.access.rules import ACTIONS, AccessRules, action_of
from recorder_worker.core.access.token_claims import SECOND_NS, ClaimRules
from recorder_worker.core.errors import RefusedError
from recorder_worker.core.subjects import Command
from recorder_worker.service.authorisation import access_rules
from recorder_worker.service.settings.tree import AuthSettings
from recorder_worker.stages.authoriser import OpenAuthoriser, TokenAuthoriser

RULES = access_rules(AuthSettings())
SKEW_S = 60
CLAIMS = ClaimRules(role_claim="role", skew_ns=SKEW_S * SECOND_NS)


class Listed:
    """A list of revoked tokens, by the keys of the bucket."""

    def __init__(self, entries: Mapping[str, Revocation]) -> None:
        self._entries = entries

    async def find(self, identity: Identity) -> tuple[Revocation, ...]:
        keys = [key_of_token(identity.token_id), key_of_subject(identity.actor)]
        return tuple(self._entries[key] for key in keys if key in self._entries)


def authoriser(
    revoked: Mapping[str, Revocation] | None = None,
    *,
    access: AccessRules = RULES,
    claims: ClaimRules = CLAIMS,
) -> TokenAuthoriser:
    verifier = JwtVerifier([secret_key(SECRET)], [])
    return TokenAuthoriser(verifier, Listed(revoked or {}), access, claims)


async def refused(
    gate: TokenAuthoriser, token: str, action: str = "start", received_ns: int | None = None
) -> str:
    """What a refusal says."""
    with pytest.raises(RefusedError) as caught:
        await gate.check(token, action, received_ns or time.time_ns())
    assert caught.value.refusal.field == "authorization"
    return str(caught.value)


# --- roles ---------------------------------------------------------------------------------------

DEFAULTS = {
    "USER": "start stop pause resume mark mask view",
    "NODE_OPERATOR": "stop pause resume mark mask view",
    "ADMIN": "start stop pause resume mark mask hold release view export retry drop",
    "SUPER_ADMIN": "start stop pause resume mark mask hold release delete view export retry drop",
}


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_what_stands_in_its_list_and_nothing_else(role: str) -> None:
    gate = authoriser()
    for action in ACTIONS:
        token = secret_token("kim", role, jti="7")
        if action in DEFAULTS[role].split():
            found = await gate.check(token, action, time.time_ns())
            assert found == Identity(actor="kim", role=role, token_id="7")  # type: ignore[arg-type]
        else:
            assert f"a role that may {action}" in await refused(gate, token, action)


async def test_what_a_role_may_is_a_setting() -> None:
    gate = authoriser(access=access_rules(AuthSettings(user_may=("mark",), super_admin_may=())))
    await gate.check(secret_token(), "mark", time.time_ns())
    assert "ADMIN" in await refused(gate, secret_token(), "start")
    says = await refused(gate, secret_token(role="SUPER_ADMIN"), "delete")
    assert "none has it" in says


async def test_an_action_that_nobody_knows_is_nobodys() -> None:
    assert "none has it" in await refused(authoriser(), secret_token(role="SUPER_ADMIN"), "fly")


def test_every_command_is_an_action() -> None:
    assert {action_of(command) for command in Command} <= set(ACTIONS)


@pytest.mark.parametrize(
    ("said", "role"),
    [
        ("ADMIN", "ADMIN"),
        (["USER", "ADMIN"], "ADMIN"),
        (["ADMIN", "USER", "painter"], "ADMIN"),
        ("admin", None),
        ("", None),
        ([""], None),
        ([], None),
        (None, None),
        (7, None),
        ({"ADMIN": True}, None),
        ("USER ADMIN", None),
        (["painter"], None),
    ],
)
async def test_of_several_roles_the_most_powerful_counts(said: object, role: str | None) -> None:
    gate = authoriser()
    if role is None:
        assert "one of USER, NODE_OPERATOR" in await refused(gate, secret_token(role=said), "stop")
    else:
        found = await gate.check(secret_token(role=said), "stop", time.time_ns())
        assert found.role == role


async def test_the_claim_of_the_role_is_a_setting() -> None:
    gate = authoriser(claims=ClaimRules(role_claim="https://id/roles", skew_ns=0))
    token = secret_token(role="SUPER_ADMIN", **{"https://id/roles": ["USER"]})
    assert (await gate.check(token, "start", time.time_ns())).role == "USER"


@pytest.mark.parametrize(
    "subject", ["", "x" * 257, "kim\nby: root", "kim\x00", "\ud800", " \u202e"]
)
async def test_a_subject_that_cannot_stand_in_a_record_is_refused(subject: str) -> None:
    assert "sub" in await refused(authoriser(), secret_token(subject))


# --- owners --------------------------------------------------------------------------------------

KIM = Identity(actor="kim", role="USER")
ROOT = Identity(actor="root", role="ADMIN")


def test_a_user_commands_his_own_sessions_only() -> None:
    RULES.check_owner(KIM, "stop", "kim")
    for owner in ("jo", "", "Kim", "kim "):
        with pytest.raises(RefusedError, match="of kim's own to stop"):
            RULES.check_owner(KIM, "stop", owner)
    for owner in ("jo", "", "root"):
        RULES.check_owner(ROOT, "stop", owner)


def test_nobody_owns_what_has_no_owner() -> None:
    with pytest.raises(RefusedError, match="one that is not"):
        RULES.check_owner(Identity(actor="", role="USER"), "stop", "")


def test_a_user_starts_for_himself_and_an_admin_for_others() -> None:
    assert RULES.owner_of_start(KIM, "") == "kim"
    assert RULES.owner_of_start(KIM, "kim") == "kim"
    with pytest.raises(RefusedError, match="owner kim, or none, got jo"):
        RULES.owner_of_start(KIM, "jo")
    assert RULES.owner_of_start(ROOT, "jo") == "jo"
    assert RULES.owner_of_start(ROOT, "") == "root"


def test_nobody_speaks_for_another() -> None:
    assert RULES.person(ROOT, "") == RULES.person(ROOT, "root") == "root"
    for identity in (KIM, ROOT):
        with pytest.raises(RefusedError, match=f"by: {identity.actor}, or none, got jo"):
            RULES.person(identity, "jo")


async def test_an_open_door_asks_nobody() -> None:
    door = OpenAuthoriser()
    assert await door.check("", "start", 0) == NOBODY
    assert await door.check("nonsense", "delete", 0) == NOBODY
    assert await door.signer_of(secret_token()) == NOBODY
    door.check_owner(NOBODY, "stop", "jo")
    assert door.owner_of_start(NOBODY, "jo") == door.person(NOBODY, "jo") == "jo"


# --- times ---------------------------------------------------------------------------------------

T = 1_800_000_000


@pytest.mark.parametrize(
    ("said", "at_s", "good"),
    [
        ({"exp": T}, T - 1, True),
        ({"exp": T}, T + SKEW_S - 1, True),
        ({"exp": T}, T + SKEW_S, False),
        ({"exp": T + 0.5}, T + SKEW_S, True),
        ({"exp": T, "nbf": T - 10}, T - 10 - SKEW_S, True),
        ({"exp": T, "nbf": T - 10}, T - 11 - SKEW_S, False),
        ({"exp": T, "iat": T - 10}, T - 10 - SKEW_S, True),
        ({"exp": T, "iat": T - 10}, T - 11 - SKEW_S, False),
        ({"exp": 0}, T, False),
        ({"exp": -1}, T, False),
        ({"exp": str(T)}, T - 1, False),
        ({"exp": True}, T - 1, False),
        ({"exp": [T]}, T - 1, False),
        ({"exp": float("nan")}, T - 1, False),
        ({"exp": float("inf")}, T - 1, False),
        ({"exp": 10**30}, T - 1, False),
        ({"exp": T, "nbf": "now"}, T - 1, False),
        ({"exp": T, "nbf": float("nan")}, T - 1, False),
    ],
)
async def test_a_token_counts_at_the_time_when_the_command_was_stored(
    said: dict[str, object], at_s: int, *, good: bool
) -> None:
    token = secret_token(**({"iat": None} | said))
    if good:
        await authoriser().check(token, "start", at_s * SECOND_NS)
    else:
        await refused(authoriser(), token, received_ns=at_s * SECOND_NS)


async def test_a_refusal_says_by_how_much_it_was_late() -> None:
    says = await refused(authoriser(), secret_token(exp=T), received_ns=(T + 90) * SECOND_NS)
    assert "one that had run out 90 s before" in says


async def test_who_was_refused_is_known_where_his_signature_holds() -> None:
    gate = authoriser()
    late = secret_token("kim", "USER", exp=1, jti="7")
    assert await gate.signer_of(late) == Identity(actor="kim", role="USER", token_id="7")
    for forged in (late[:-4], "", "nonsense", secret_token(role="painter")):
        assert await gate.signer_of(forged) == NOBODY


# --- revocation ----------------------------------------------------------------------------------


async def test_a_revoked_token_and_a_revoked_subject_are_refused() -> None:
    lost = Revocation(reason="lost on a train")
    by_id, by_subject = authoriser({"7": lost}), authoriser({"sub.kim": lost})
    bad, good = secret_token("kim", jti="7"), secret_token("jo", jti="8")
    for gate in (by_id, by_subject):
        assert "got one that is: lost on a train" in await refused(gate, bad)
        await gate.check(good, "start", time.time_ns())
    await by_id.check(secret_token("kim", jti="8"), "start", time.time_ns())
    await refused(by_subject, secret_token("kim", jti="8"))
    await refused(by_subject, secret_token("kim"))


async def test_a_revocation_that_ends_counts_for_commands_until_then() -> None:
    gate = authoriser({"sub.kim": Revocation(until_ns=T * SECOND_NS)})
    token = secret_token(exp=T + 100, iat=None)
    assert "no reason was given" in await refused(gate, token, received_ns=T * SECOND_NS - 1)
    await gate.check(token, "start", T * SECOND_NS)


@pytest.mark.parametrize("data", [b"", b"revoked", b"{", b"[]", b"\xff", b'{"until_ns": "x"}'])
async def test_an_entry_that_cannot_be_read_revokes(data: bytes) -> None:
    assert revocation_in(data) is UNREADABLE
    await refused(authoriser({"7": revocation_in(data)}), secret_token(jti="7"))


def test_an_empty_entry_revokes_for_ever() -> None:
    assert revocation_in(b"{}").counts_at(2**62)


@pytest.mark.parametrize(
    ("subject", "key"),
    [
        ("kim", "sub.kim"),
        ("kim@example.org", "sub.kim=40example=2Eorg"),
        ("a=40b", "sub.a=3D40b"),
        ("..", "sub.=2E=2E"),
        ("Jürg 7*>", "sub.J=C3=BCrg=207=2A=3E"),
    ],
)
def test_every_subject_has_a_key_of_its_own(subject: str, key: str) -> None:
    assert key_of_subject(subject) == key
    assert re.fullmatch(r"[-_=.a-zA-Z0-9]+", key)
    assert key_of_token(f"sub.{subject}") != key, "no token has the key of a subject"


def test_the_roles_of_the_settings_are_the_roles() -> None:
    assert tuple(RULES.may) == ROLES
    kind = AuthSettings.__annotations__["own_only"]
    assert all(role in str(kind) for role in ROLES)
