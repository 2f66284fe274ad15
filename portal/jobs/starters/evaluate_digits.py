"""Measures a model on 360 handwritten digits that it has not learned from.

Reads the weights.npz that "Train a small model" leaves, from $PORTAL_DATA_DIR (keep it as a dataset and choose it as
input). Without one it measures the simplest model there is, the nearest mean image. Writes report.csv, metrics.json
and confusion.png to $PORTAL_OUTPUT_DIR. Settings: SEED (0, as in training), MIN_ACCURACY (0): the job fails if the
model is worse.
"""

import csv
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("MPLCONFIGDIR", tempfile.mkdtemp())  # a job's home may be read-only
for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import train_test_split

SEED = int(os.environ.get("SEED", "0"))
MIN_ACCURACY = float(os.environ.get("MIN_ACCURACY", "0"))
data = Path(os.environ.get("PORTAL_DATA_DIR", "."))
output = Path(os.environ.get("PORTAL_OUTPUT_DIR", "."))
output.mkdir(parents=True, exist_ok=True)

digits = load_digits()
images = (digits.data / 16.0).astype(np.float32)
train_x, test_x, train_y, test_y = train_test_split(
    images, digits.target, test_size=0.2, random_state=SEED, stratify=digits.target
)
found = sorted(data.rglob("weights.npz"))
if found:
    name = found[0].relative_to(data).as_posix()
    with np.load(found[0]) as weights:
        hidden = np.maximum(test_x @ weights["weights_0"] + weights["bias_0"], 0)
        guesses = (hidden @ weights["weights_1"] + weights["bias_1"]).argmax(axis=1)
else:
    name = "nearest mean image"
    means = np.stack([train_x[train_y == digit].mean(axis=0) for digit in range(10)])
    guesses = np.linalg.norm(test_x[:, None] - means, axis=2).argmin(axis=1)
print(f"Model: {name}, {len(test_y)} images", flush=True)

accuracy = float((guesses == test_y).mean())
precision, recall, score, count = precision_recall_fscore_support(test_y, guesses, labels=range(10), zero_division=0)
with (output / "report.csv").open("w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["digit", "precision", "recall", "f1", "images"])
    for digit in range(10):
        writer.writerow([digit, f"{precision[digit]:.4f}", f"{recall[digit]:.4f}", f"{score[digit]:.4f}", count[digit]])
        print(f"digit {digit}  precision {precision[digit]:.4f}  recall {recall[digit]:.4f}", flush=True)
metrics = {"model": name, "images": len(test_y), "accuracy": round(accuracy, 4), "f1": round(float(score.mean()), 4)}
(output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")

table = confusion_matrix(test_y, guesses, labels=range(10))
figure = Figure(figsize=(5, 5), layout="constrained")
FigureCanvasAgg(figure)
axes = figure.add_subplot()
axes.imshow(table, cmap="Blues")
axes.set_xlabel("guess")
axes.set_ylabel("digit")
axes.set_xticks(range(10))
axes.set_yticks(range(10))
for row in range(10):
    for column in range(10):
        color = "white" if table[row, column] > table.max() / 2 else "black"
        axes.text(column, row, table[row, column], ha="center", va="center", color=color)
figure.savefig(output / "confusion.png", dpi=120)

print(f"Saved report.csv, metrics.json and confusion.png. Accuracy: {accuracy:.1%}")
if accuracy < MIN_ACCURACY:
    sys.exit(f"The accuracy is below MIN_ACCURACY ({MIN_ACCURACY:.1%}).")
