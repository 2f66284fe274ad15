"""What was consumed: facts in whole GPU-seconds, no money. Records are append-only; daily sums move with them."""
