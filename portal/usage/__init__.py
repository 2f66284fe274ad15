"""What was consumed: facts in whole GPU-seconds, no money. Records are append-only; rollups stand in the same transaction."""
