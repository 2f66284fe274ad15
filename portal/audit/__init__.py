"""Who did what to whom, when and why: an append-only chain of hashes, without foreign keys."""
