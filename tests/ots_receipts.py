"""Detached proofs of OpenTimestamps, as its own library writes them."""

from __future__ import annotations

from opentimestamps.core.notary import TimeAttestation
from opentimestamps.core.op import Op, OpAppend, OpPrepend, OpSHA256
from opentimestamps.core.serialize import BytesSerializationContext
from opentimestamps.core.timestamp import DetachedTimestampFile, Timestamp

MESSAGE = b"lab7/log\n3\nAAAA\n"
TO_BLOCK: tuple[Op, ...] = (OpAppend(b"salt"), OpSHA256(), OpPrepend(b"left"), OpSHA256())


def receipt(
    *attestations: TimeAttestation,
    message: bytes = MESSAGE,
    ops: tuple[Op, ...] = TO_BLOCK,
    file_op: Op | None = None,
) -> tuple[bytes, str]:
    """A detached proof, and the value at the end of its operations as explorers show it."""
    file_op = OpSHA256() if file_op is None else file_op  # an operation is an empty tuple
    stamp = Timestamp(file_op(message))
    last = stamp
    for op in ops:
        last = last.ops.add(op)
    last.attestations.update(attestations)
    context = BytesSerializationContext()
    DetachedTimestampFile(file_op, stamp).serialize(context)
    return context.getbytes(), last.msg[::-1].hex()
