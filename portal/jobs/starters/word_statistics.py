"""Counts words and characters of every text file in $PORTAL_DATA_DIR.

Writes counts.csv and summary.json to $PORTAL_OUTPUT_DIR. The same input gives the same bytes on every machine.
Japanese is cut where the script changes (kanji, hiragana, katakana), which needs no dictionary.
"""

import collections
import csv
import hashlib
import json
import os
import re
import sys
import unicodedata
from pathlib import Path

WORD = re.compile(
    "[A-Za-z0-9À-ÖØ-öø-ÿ]+(?:['’-][A-Za-zÀ-ÖØ-öø-ÿ]+)*"  # Latin words, numbers, don't, well-known
    "|[\u3400-\u4dbf\u4e00-\u9fff々〆]+"  # kanji
    "|[\u3041-\u3096]+"  # hiragana
    "|[\u30a1-\u30faー]+"  # katakana
)


def main():
    data = Path(os.environ.get("PORTAL_DATA_DIR", "."))
    output = Path(os.environ.get("PORTAL_OUTPUT_DIR", "."))
    paths = sorted((p for p in data.rglob("*") if p.is_file()), key=lambda p: p.relative_to(data).as_posix())
    if not paths:
        sys.exit("No input file. Choose a text file for this job and submit it again.")

    words = collections.Counter()
    files = []
    for path in paths:
        raw = path.read_bytes()
        text = unicodedata.normalize("NFKC", raw.decode("utf-8", errors="replace"))
        found = [word.lower() for word in WORD.findall(text)]
        words.update(found)
        files.append(
            {
                "path": path.relative_to(data).as_posix(),
                "bytes": len(raw),
                "sha256": hashlib.sha256(raw).hexdigest(),
                "lines": len(text.splitlines()),
                "characters": sum(not c.isspace() for c in text),
                "words": len(found),
            }
        )
        print(f"{files[-1]['path']}: {len(found):,} words, {files[-1]['characters']:,} characters", flush=True)

    ranking = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    output.mkdir(parents=True, exist_ok=True)
    with (output / "counts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["word", "count"])
        writer.writerows(ranking)
    summary = {
        "files": files,
        "words": sum(words.values()),
        "different_words": len(words),
        "characters": sum(f["characters"] for f in files),
        "most_frequent": [{"word": word, "count": count} for word, count in ranking[:20]],
    }
    (output / "summary.json").write_text(
        json.dumps(summary, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )

    print("Most frequent:")
    for word, count in ranking[:10]:
        print(f"  {count:>8,}  {word}")
    print(f"Saved counts.csv ({len(words):,} rows) and summary.json.")


main()
