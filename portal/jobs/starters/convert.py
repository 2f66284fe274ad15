"""Turns every CSV and TSV file of a dataset into JSON Lines, and reads each back to see that nothing was lost.

Reads .csv and .tsv in $PORTAL_DATA_DIR, writes the same paths with .jsonl and manifest.json to $PORTAL_OUTPUT_DIR. A
cell becomes a number only where the number is written exactly as the cell was: 007 and 1.50 stay text.
"""

import csv
import hashlib
import json
import os
import sys
from pathlib import Path

DELIMITERS = {".csv": ",", ".tsv": "\t"}


def main():
    data = Path(os.environ.get("PORTAL_DATA_DIR", "."))
    output = Path(os.environ.get("PORTAL_OUTPUT_DIR", "."))
    paths = sorted(path for path in data.rglob("*") if path.suffix.lower() in DELIMITERS)
    if not paths:
        sys.exit("No .csv or .tsv file. Choose a dataset that has some for this job and submit it again.")
    manifest = []
    for path in paths:
        # The name keeps its ending, so that a.csv and a.tsv do not become the same file.
        target = output / path.relative_to(data).with_name(path.name + ".jsonl")
        target.parent.mkdir(parents=True, exist_ok=True)
        count = convert(path, target)
        content = target.read_bytes()
        manifest.append(
            {
                "from": path.relative_to(data).as_posix(),
                "to": target.relative_to(output).as_posix(),
                "rows": count,
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
        print(f"{manifest[-1]['from']} -> {manifest[-1]['to']}: {count:,} rows", flush=True)
    (output / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(f"Saved manifest.json. Files: {len(manifest)}, rows: {sum(one['rows'] for one in manifest):,}")


def rows_of(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=DELIMITERS[path.suffix.lower()])
        header = next(rows, [])
        if len(set(header)) != len(header):
            sys.exit(f"{path.name}: two columns have the same name.")
        for number, row in enumerate(rows, start=2):
            if len(row) != len(header):
                sys.exit(f"{path.name}, row {number}: {len(row)} cells where there are {len(header)} columns.")
            yield dict(zip(header, row, strict=True))


def convert(path, target):
    count = 0
    with target.open("w", encoding="utf-8", newline="") as file:
        for row in rows_of(path):
            typed = {name: value_of(cell) for name, cell in row.items()}
            file.write(json.dumps(typed, ensure_ascii=False) + "\n")
            count += 1
    with target.open(encoding="utf-8", newline="") as file:
        for row, line in zip(rows_of(path), file, strict=True):
            back = {name: str(value) for name, value in json.loads(line).items()}
            if back != row:
                sys.exit(f"{path.name}: {row} came back as {back}.")
    return count


def value_of(cell):
    for kind in (int, float):
        try:
            number = kind(cell)
        except ValueError:
            continue
        if str(number) == cell and cell not in ("nan", "inf", "-inf"):
            return number
    return cell


main()
