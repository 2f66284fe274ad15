"""Writes a line a second. When it is asked to stop (SIGTERM) it saves a checkpoint and ends.

Give the checkpoint.json of an earlier job as input and it goes on from there. Setting: STEPS (600).
"""

import json
import os
import signal
import sys
from pathlib import Path

STEPS = int(os.environ.get("STEPS", "600"))
SECONDS_PER_STEP = float(os.environ.get("SECONDS_PER_STEP", "1"))
output = Path(os.environ.get("PORTAL_OUTPUT_DIR", "."))
output.mkdir(parents=True, exist_ok=True)
done = 0


def save():
    """Written aside and renamed, so that a checkpoint is whole or not there."""
    draft = output / "checkpoint.json.part"
    draft.write_text(json.dumps({"done": done, "of": STEPS}) + "\n")
    draft.replace(output / "checkpoint.json")


# Held back and waited for below: a handler could interrupt a print and must not print itself.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
for earlier in sorted(Path(os.environ.get("PORTAL_DATA_DIR", ".")).rglob("checkpoint.json")):
    done = min(int(json.loads(earlier.read_text())["done"]), STEPS)
    print(f"Going on from step {done} ({earlier.name}).", flush=True)

while done < STEPS:
    if signal.sigtimedwait([signal.SIGTERM], SECONDS_PER_STEP):
        save()
        print(f"Asked to stop: saved checkpoint.json at step {done}.", flush=True)
        sys.exit(128 + signal.SIGTERM)
    done += 1
    print(f"step {done}/{STEPS}  {done / STEPS:.0%}", flush=True)
    if done % 60 == 0:
        save()
        print(f"Saved checkpoint.json at step {done}.", flush=True)
save()
print("Done.", flush=True)
