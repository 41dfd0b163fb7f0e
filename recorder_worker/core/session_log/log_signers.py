"""Who signed a log of sessions, and whether somebody vouches for that key."""

from __future__ import annotations

from collections.abc import Iterable

from recorder_worker.core.note import SignedNote
from recorder_worker.core.proofs import ProofError
from recorder_worker.core.session_log.stored_log import verify_log_note
from recorder_worker.core.signing_keys import PublicKey
from recorder_worker.core.verify.policy import TrustPolicy
from recorder_worker.core.verify.report import Trust, TrustStatus

KeySet = tuple[PublicKey, ...]


class LogSigners:
    """The device keys that may have signed: those that sessions name, and those of the policy.

    There is more than one where the recorder's device key was rotated.
    """

    def __init__(self, named: Iterable[KeySet], policy: TrustPolicy | None) -> None:
        self._policy = policy
        self._keys = list(named)
        if policy is not None:
            self._keys += [key.keys for key in policy.keys]
            for rotation in policy.rotations:
                self._keys += [tuple(rotation.old), tuple(rotation.new)]
        self._keys = list(dict.fromkeys(self._keys))

    def __str__(self) -> str:
        return f"the {len(self._keys)} device keys that the sessions and the policy name"

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
