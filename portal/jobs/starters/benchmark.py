"""How fast is this machine? Multiplies matrices, copies memory, writes and reads the disk, each for a few seconds.

Writes benchmark.json and benchmark.csv to $PORTAL_OUTPUT_DIR. It measures the processors, not the GPUs. Settings:
SECONDS (3) for each measurement, MATRIX (1024) rows, FILE_MB (64).
"""

import csv
import json
import os
import platform
import time
from pathlib import Path

import numpy as np

SECONDS = float(os.environ.get("SECONDS", "3"))
MATRIX = int(os.environ.get("MATRIX", "1024"))
FILE_MB = int(os.environ.get("FILE_MB", "64"))
output = Path(os.environ.get("PORTAL_OUTPUT_DIR", "."))
output.mkdir(parents=True, exist_ok=True)
results = []


def measure(name, unit, amount, act):
    """`amount`: how much of the unit one `act` does. The best of the rounds counts, at least three."""
    act()  # to warm up
    took, end = [], time.monotonic() + SECONDS
    while len(took) < 3 or time.monotonic() < end:
        began = time.perf_counter()
        act()
        took.append(time.perf_counter() - began)
    best = amount / min(took)
    results.append({"measure": name, "unit": unit, "best": float(f"{best:.4g}"), "rounds": len(took)})
    print(f"{name:<20}{best:>12,.1f} {unit:<10}{len(took):>6} rounds", flush=True)


random = np.random.default_rng(0)
left, right = (random.random((MATRIX, MATRIX), dtype=np.float32) for _side in range(2))
measure("matrix product", "GFLOPS", 2 * MATRIX**3 / 1e9, lambda: left @ right)
block = np.ones(FILE_MB * 2**20 // 8)
measure("memory copy", "GB/s", block.nbytes / 1e9, block.copy)

path, content = output / "block.bin", block.tobytes()


def write():
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


measure("disk write", "MB/s", len(content) / 1e6, write)
measure("disk read (cached)", "MB/s", len(content) / 1e6, path.read_bytes)
path.unlink()

machine = {"system": platform.machine(), "processors": len(os.sched_getaffinity(0)), "numpy": np.__version__}
(output / "benchmark.json").write_text(json.dumps({**machine, "results": results}, indent=2) + "\n", encoding="utf-8")
with (output / "benchmark.csv").open("w", encoding="utf-8", newline="") as file:
    writer = csv.DictWriter(file, ["measure", "unit", "best", "rounds"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(results)
print("Saved benchmark.json and benchmark.csv.")
