"""Trains a small network on handwritten digits with every combination of settings and says which was best.

Writes results.csv, the best first, and best.json to $PORTAL_OUTPUT_DIR. Settings: HIDDEN ("16,32,64"), RATES
("0.003,0.01,0.03"), EPOCHS (8), SEED (0). All combinations are tried one after another in this one job.
"""

import csv
import itertools
import json
import os
import time
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

HIDDEN = [int(word) for word in os.environ.get("HIDDEN", "16,32,64").split(",")]
RATES = [float(word) for word in os.environ.get("RATES", "0.003,0.01,0.03").split(",")]
EPOCHS = int(os.environ.get("EPOCHS", "8"))
SEED = int(os.environ.get("SEED", "0"))
output = Path(os.environ.get("PORTAL_OUTPUT_DIR", "."))
output.mkdir(parents=True, exist_ok=True)

digits = load_digits()
images = (digits.data / 16.0).astype(np.float32)
# The best is chosen by images that are not those of the final test: 20 % of what the training job learns from.
learn_x, _test_x, learn_y, _test_y = train_test_split(
    images, digits.target, test_size=0.2, random_state=SEED, stratify=digits.target
)
train_x, check_x, train_y, check_y = train_test_split(
    learn_x, learn_y, test_size=0.2, random_state=SEED, stratify=learn_y
)
points = list(itertools.product(HIDDEN, RATES))
print(f"{len(points)} combinations, {EPOCHS} epochs each", flush=True)
results = []
for number, (hidden, rate) in enumerate(points, start=1):
    began = time.monotonic()
    model = MLPClassifier(hidden_layer_sizes=(hidden,), learning_rate_init=rate, batch_size=64, random_state=SEED)
    for _epoch in range(EPOCHS):
        model.partial_fit(train_x, train_y, classes=np.arange(10))
    accuracy = float(model.score(check_x, check_y))
    results.append({"hidden": hidden, "rate": rate, "accuracy": round(accuracy, 4)})
    took = time.monotonic() - began
    print(f"{number}/{len(points)}  hidden {hidden}  rate {rate:g}  accuracy {accuracy:.4f}  {took:.2f} s", flush=True)

results.sort(key=lambda one: (-one["accuracy"], one["hidden"], one["rate"]))
with (output / "results.csv").open("w", encoding="utf-8", newline="") as file:
    writer = csv.DictWriter(file, ["hidden", "rate", "accuracy"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(results)
(output / "best.json").write_text(json.dumps(results[0], indent=2) + "\n", encoding="utf-8")
print(f"Saved results.csv and best.json. Best: hidden {results[0]['hidden']}, rate {results[0]['rate']:g}")
