"""Do the processes of a job find each other? Each says its rank, then rank 0 hears from all of them over the network.

Rank and number of processes are read from what the launcher sets: torchrun, Slurm's srun or mpirun. A job on one node
that is started without one of them is rank 0 of 1, and says so. Rank 0 writes ranks.json to $PORTAL_OUTPUT_DIR. More
than one process need MASTER_ADDR; settings: MASTER_PORT (29500), WAIT_S (60).
"""

import json
import os
import socket
import sys
import time
from pathlib import Path

LAUNCHERS = (
    ("torchrun", "RANK", "WORLD_SIZE"),
    ("Slurm", "SLURM_PROCID", "SLURM_NTASKS"),
    ("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)
PORT = int(os.environ.get("MASTER_PORT", "29500"))
WAIT_S = float(os.environ.get("WAIT_S", "60"))


def main():
    launcher, rank, size = place()
    me = {"rank": rank, "host": socket.gethostname(), "process": os.getpid()}
    print(f"rank {rank} of {size} on {me['host']} ({launcher})", flush=True)
    if size == 1:
        save([me], launcher)
        return
    address = os.environ.get("MASTER_ADDR")
    if not address:
        sys.exit("MASTER_ADDR is not set: the ranks do not know where rank 0 is.")
    if rank:
        tell(address, me)
    else:
        save([me, *hear(size - 1)], launcher)


def place():
    for launcher, rank, size in LAUNCHERS:
        if rank in os.environ and size in os.environ:
            return launcher, int(os.environ[rank]), int(os.environ[size])
    return "no launcher", 0, 1


def hear(count):
    found = []
    with socket.create_server(("", PORT), backlog=count) as server:
        server.settimeout(WAIT_S)
        while len(found) < count:
            try:
                connection, _address = server.accept()
            except TimeoutError:
                sys.exit(f"Only {len(found) + 1} of {count + 1} ranks came within {WAIT_S:g} s.")
            with connection, connection.makefile("rw", encoding="utf-8") as wire:
                found.append(json.loads(wire.readline()))
                wire.write("heard\n")
    return found


def tell(address, me):
    deadline = time.monotonic() + WAIT_S
    while True:  # rank 0 may begin later
        try:
            with (
                socket.create_connection((address, PORT), timeout=5) as connection,
                connection.makefile("rw", encoding="utf-8") as wire,
            ):
                wire.write(json.dumps(me) + "\n")
                wire.flush()
                if wire.readline() == "heard\n":
                    return
        except OSError as problem:
            if time.monotonic() > deadline:
                sys.exit(f"Rank 0 at {address}:{PORT} cannot be reached: {problem}")
        time.sleep(0.2)


def save(ranks, launcher):
    ranks.sort(key=lambda one: one["rank"])
    hosts = sorted({one["host"] for one in ranks})
    output = Path(os.environ.get("PORTAL_OUTPUT_DIR", "."))
    output.mkdir(parents=True, exist_ok=True)
    told = {"launcher": launcher, "nodes": len(hosts), "ranks": ranks}
    (output / "ranks.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    print(f"Saved ranks.json. Ranks: {len(ranks)}, nodes: {len(hosts)}")


main()
