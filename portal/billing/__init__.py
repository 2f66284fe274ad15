"""What it costs: money in whole yen with tax, no GPUs.

A hold puts the most a job can cost aside when it is submitted; each usage record becomes one charge, by which the hold
shrinks; the rest is released at the end. The ledger is double entry and append-only.
"""
