"""Trains a small neural network on the 1,797 handwritten digits that scikit-learn ships.

Writes weights.npz, metrics.csv and curve.png to $PORTAL_OUTPUT_DIR. Settings: EPOCHS (30), HIDDEN (64), SEED (0).
"""

import csv
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("MPLCONFIGDIR", tempfile.mkdtemp())  # a job's home may be read-only
for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

EPOCHS = int(os.environ.get("EPOCHS", "30"))
HIDDEN = int(os.environ.get("HIDDEN", "64"))
SEED = int(os.environ.get("SEED", "0"))
output = Path(os.environ.get("PORTAL_OUTPUT_DIR", "."))
output.mkdir(parents=True, exist_ok=True)

digits = load_digits()
images = (digits.data / 16.0).astype(np.float32)
train_x, test_x, train_y, test_y = train_test_split(
    images, digits.target, test_size=0.2, random_state=SEED, stratify=digits.target
)
print(f"{len(train_x)} images to learn from, {len(test_x)} to test with, {HIDDEN} hidden units", flush=True)

model = MLPClassifier(hidden_layer_sizes=(HIDDEN,), learning_rate_init=0.01, batch_size=64, random_state=SEED)
rows = []
for epoch in range(1, EPOCHS + 1):
    began = time.monotonic()
    model.partial_fit(train_x, train_y, classes=np.arange(10))
    loss = log_loss(test_y, model.predict_proba(test_x), labels=np.arange(10))
    accuracy = float((model.predict(test_x) == test_y).mean())
    rows.append((epoch, model.loss_, loss, accuracy))
    print(
        f"epoch {epoch:>3}/{EPOCHS}  loss {model.loss_:.4f}  test loss {loss:.4f}  "
        f"accuracy {accuracy:.4f}  {time.monotonic() - began:.2f} s",
        flush=True,
    )

np.savez(
    output / "weights.npz",
    **{f"weights_{i}": w for i, w in enumerate(model.coefs_)},
    **{f"bias_{i}": b for i, b in enumerate(model.intercepts_)},
)
with (output / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["epoch", "loss", "test_loss", "accuracy"])
    writer.writerows((e, f"{a:.6f}", f"{b:.6f}", f"{c:.6f}") for e, a, b, c in rows)

figure = Figure(figsize=(8, 4.5), layout="constrained")
FigureCanvasAgg(figure)
left = figure.add_subplot()
epochs = [row[0] for row in rows]
left.plot(epochs, [row[1] for row in rows], label="loss")
left.plot(epochs, [row[2] for row in rows], label="test loss")
left.set_xlabel("epoch")
left.set_ylabel("loss")
right = left.twinx()
right.plot(epochs, [row[3] for row in rows], color="tab:green", label="accuracy")
right.set_ylabel("accuracy")
right.set_ylim(0, 1)
figure.legend(loc="outside upper center", ncols=3)
figure.savefig(output / "curve.png", dpi=120)

print(f"Saved weights.npz, metrics.csv and curve.png. Accuracy on the test images: {rows[-1][3]:.1%}")
