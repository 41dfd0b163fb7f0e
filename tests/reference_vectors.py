"""Makes the recordings and logs of `tests/vectors`: `python tests/reference_vectors.py [OUT]`.

Every run makes the same bytes. What cannot be made the same twice (ML-DSA signatures, time-stamps,
wrapped keys) is kept in `made-once.json` beside them, and taken from there.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import reference_attacks
import reference_attacks_form
import reference_attacks_parts
import reference_audits
import reference_logs
import reference_removed
import reference_sealed
from reference import check
from reference_good import VECTORS, Vector
from reference_log import check_log
from reference_signing import SignatureStore

OUT = Path(__file__).parent / "vectors"
MADE_ONCE = OUT / "recordings" / "made-once.json"
EXPECTED = "expected.json"
IDENTITY = OUT / "recordings" / "identity.txt"
MODULES = (  # they add to VECTORS
    reference_attacks,
    reference_attacks_form,
    reference_attacks_parts,
    reference_logs,
    reference_sealed,
    reference_audits,
    reference_removed,
)


def write(vector: Vector, store: SignatureStore, out: Path) -> dict[str, object]:
    """Write the folder of a vector, and what has to be found in it; returns the latter."""
    folder = out / vector.folder / vector.name
    for name, data in vector.make(store).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    found = (check_log if vector.folder.startswith("logs") else check)(folder)
    expected = {
        "what": " ".join(vector.what.split()),
        "verdict": vector.verdict,
        "root_hash": found.get("root_hash", ""),
        "reference_says": found["problem"],
    }
    if vector.opened:
        with_identity = check(folder, IDENTITY)
        expected |= {
            "verdict_with_identity": vector.opened,
            "reference_says_with_identity": with_identity["problem"],
        }
        if with_identity["verdict"] != vector.opened:
            found["verdict"] = f"{with_identity['verdict']} with the identity"
    text = json.dumps(expected, indent=2, ensure_ascii=False) + "\n"
    (folder / EXPECTED).write_text(text, encoding="utf-8")
    return {**expected, "found": found["verdict"]}


def main(out: Path) -> int:
    store = SignatureStore(MADE_ONCE)
    IDENTITY.write_text(reference_sealed.IDENTITY_FILE)
    for folder in {vector.folder for vector in VECTORS}:
        shutil.rmtree(out / folder, ignore_errors=True)
    wrong = 0
    for vector in VECTORS:
        expected = write(vector, store, out)
        agrees = expected["found"] == vector.verdict
        wrong += not agrees
        print(f"{vector.folder}/{vector.name}: {expected['found']}{'' if agrees else ' !!!'}")
        print(f"    {expected['reference_says']}")
    if out == OUT:
        store.save()
    print(f"{len(VECTORS)} vectors, {wrong} with another verdict than they should have")
    return wrong


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else OUT))
