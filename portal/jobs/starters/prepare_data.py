"""Cleans the CSV files of a dataset and splits them into data to train and to test with.

Reads every .csv in $PORTAL_DATA_DIR; all have the same first line. Leaves out rows with an empty cell, with too many
or too few cells, and those that were there before. Writes train.csv, test.csv and report.json to $PORTAL_OUTPUT_DIR.
Where a row goes follows from its content alone, so that the same rows are always the ones to test with. Setting:
TEST_PERCENT (20).
"""

import csv
import hashlib
import json
import os
import sys
from pathlib import Path

TEST_PERCENT = int(os.environ.get("TEST_PERCENT", "20"))


def main():
    data = Path(os.environ.get("PORTAL_DATA_DIR", "."))
    output = Path(os.environ.get("PORTAL_OUTPUT_DIR", "."))
    paths = sorted(data.rglob("*.csv"), key=lambda path: path.relative_to(data).as_posix())
    if not paths:
        sys.exit("No .csv file. Choose a dataset of CSV files for this job and submit it again.")
    header, seen = None, set()
    left_out = {"empty cell": 0, "wrong number of cells": 0, "there before": 0}
    parts = {"train": [], "test": []}
    for path in paths:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            first = next(rows, [])
            header = header or first
            if first != header:
                sys.exit(f"{path.relative_to(data)}: its columns are {first}, those of {paths[0].name} are {header}.")
            for row in rows:
                cells = tuple(cell.strip() for cell in row)
                why = problem(cells, header, seen)
                if why:
                    left_out[why] += 1
                else:
                    seen.add(cells)
                    parts[part_of(cells)].append(cells)
        print(f"{path.relative_to(data)}: {len(seen):,} rows kept so far", flush=True)
    output.mkdir(parents=True, exist_ok=True)
    for name, kept in parts.items():
        with (output / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *kept])
    report = {
        "files": len(paths),
        "columns": {name: about([row[i] for row in seen]) for i, name in enumerate(header)},
        "rows": {name: len(kept) for name, kept in parts.items()},
        "left_out": left_out,
    }
    (output / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(f"Saved train.csv ({len(parts['train']):,} rows), test.csv ({len(parts['test']):,} rows) and report.json.")


def problem(cells, header, seen):
    if len(cells) != len(header):
        return "wrong number of cells"
    if not all(cells):
        return "empty cell"
    return "there before" if cells in seen else ""


def part_of(cells):
    digest = hashlib.sha256("\x1f".join(cells).encode()).digest()
    return "test" if int.from_bytes(digest[:4], "big") % 100 < TEST_PERCENT else "train"


def about(values):
    """Of numbers the least and the most; of anything else how many there are."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return {"different": len(set(values))}
    return {"least": min(numbers), "most": max(numbers)} if numbers else {"different": 0}


main()
