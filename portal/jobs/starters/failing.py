"""Ends with a traceback on purpose: the job's page shows the exit code, the last lines and what to do next.

What was written to $PORTAL_OUTPUT_DIR before the error is kept.
"""

import json
import os
from pathlib import Path

SETTINGS = {"model": "demo", "layers": 4}


def build(settings):
    print(f"Building {settings['model']} with {settings['layers']} layers", flush=True)
    return [settings["hidden_size"] for _ in range(settings["layers"])]  # the setting was forgotten: KeyError


output = Path(os.environ.get("PORTAL_OUTPUT_DIR", "."))
output.mkdir(parents=True, exist_ok=True)
(output / "partial.json").write_text(json.dumps({"steps_done": 1, "settings": SETTINGS}, sort_keys=True) + "\n")
print("Saved partial.json", flush=True)
print("\x1b[33mwarning: hidden_size is not set\x1b[0m", flush=True)
build(SETTINGS)
