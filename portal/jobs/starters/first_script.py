"""Says what the machine has: Python, processors, memory, disk, and the GPUs if there are any.

Writes machine.json to $PORTAL_OUTPUT_DIR. The beginning of a script of your own: replace what stands below.
"""

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

output = Path(os.environ.get("PORTAL_OUTPUT_DIR", "."))
output.mkdir(parents=True, exist_ok=True)


def memory_bytes():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def gpus():
    """One line each, as nvidia-smi tells them; none where it is not installed."""
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()


machine = {
    "python": platform.python_version(),
    "system": f"{platform.system()} {platform.machine()}",
    "processors": len(os.sched_getaffinity(0)),
    "memory_gib": round(memory_bytes() / 2**30, 1),
    "free_disk_gib": round(shutil.disk_usage(output).free / 2**30, 1),
    "gpus": gpus(),
}
for name, value in machine.items():
    print(f"{name}: {value if value else 'none'}", flush=True)
(output / "machine.json").write_text(json.dumps(machine, indent=2) + "\n", encoding="utf-8")
print("Saved machine.json.")
