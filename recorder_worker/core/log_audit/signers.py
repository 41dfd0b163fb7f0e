"""Who signed a log of sessions, and whether somebody vouches for that key."""

from __future__ import annotations

from collections.abc import Iterable

from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.session_log.stored_log import verify_log_note
from recorder_worker.core.signing.note import SignedNote
from recorder_worker.core.signing.signing_keys import KeyKind, PublicKey
from recorder_worker.core.verify.policy import TrustPolicy
from recorder_worker.core.verify.report import Trust, TrustStatus

KeySet = tuple[PublicKey, ...]


class LogSigners:
    """The device keys that may have signed: those that sessions name, and those of the policy.

    There is more than one where the recorder's device key was rotated. `named` are those that
    sessions name; an OPEN without a key, which nothing has signed, names none. Those that the audit
    trail names come last: they serve where there is no session.
    """

    def __init__(
        self, named: Iterable[KeySet], policy: TrustPolicy | None, trail: Iterable[str] = ()
    ) -> None:
        self._policy = policy
        self._keys = list(named)
        count = len(self._keys)
        if policy is not None:
            self._keys += [key.keys for key in policy.keys]
            for rotation in policy.rotations:
                self._keys += [tuple(rotation.old), tuple(rotation.new)]
        named_keys = list(dict.fromkeys(found for found in self._keys[:count] if found))
        self.named = tuple(named_keys)
        self._keys += [(PublicKey(KeyKind.ED25519, bytes.fromhex(found)),) for found in trail]
        self._keys = [found for found in dict.fromkeys(self._keys) if found]

    def __str__(self) -> str:
        return f"the {len(self._keys)} device keys that the sessions and the policy name"

    def warnings(self) -> list[str]:
        """More than one device key is a rotation where the policy says so; else it may be theft."""
        known = {self._policy.name_of(found) for found in self.named} if self._policy else {None}
        if len(self.named) < 2 or None not in known:
            return []
        text = (
            f"the sessions name {len(self.named)} device keys: only a policy with the statements "
            "of `recorder keys rotate` shows that they are of one recorder"
        )
        return [text]

    def of(self, note: SignedNote) -> KeySet | None:
        """The first key set whose Ed25519 key has signed a checkpoint of the log."""
        for keys in self._keys:
            try:
                verify_log_note(note, note.head.origin, keys[0].data)
            except ProofError:
                continue
            return keys
        return None

    def trust(self, signer: KeySet | None) -> Trust:
        """Whether the policy names a key set."""
        shown = signer[0].data.hex() if signer else ""
        if self._policy is None:
            return Trust(status=TrustStatus.NO_POLICY, public_key=shown)
        name = self._policy.name_of(signer) if signer else None
        status = TrustStatus.UNTRUSTED if name is None else TrustStatus.TRUSTED
        return Trust(status=status, public_key=shown, name=name or "")
