"""Debian's own Slurm on loopback: one node with eight pretended H200, accounting, slurmrestd, and an SSH server.

Nobody of us wrote it: what the adapters promise with it, they promise with the real thing. Needs root, and the packages
of portal/launcher/debian.py; everything lives in one folder and ends with it. No init system, no cgroups.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jwt

from portal.providers.base import Account

DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmrestd", "sshd")
GPUS = 8
NOBODY = 65534


def missing() -> str:
    """Why there can be no cluster here; "" where there can."""
    lacking = [name for name in DAEMONS if _program(name) is None]
    if lacking:
        return (
            f"real Slurm is not installed ({', '.join(lacking)}): apt-get install slurmctld slurmd slurmrestd"
            " slurm-client slurm-wlm-jwt-plugin slurmdbd slurm-wlm-mysql-plugin mariadb-server munge openssh-server"
        )
    return "" if os.getuid() == 0 else "Slurm's daemons need root: run the tests as root"


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        names = ("controller", "node", "accounting", "database", "rest", "ssh")
        self._ports = dict(zip(names, _free_ports(len(names)), strict=True))
        self._jwt_key = secrets.token_bytes(32)
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        folder = self.folder
        folder.chmod(0o755)
        for name in ("state", "spool", "log", "run", "jobs"):
            (folder / name).mkdir()
        self._write("munge.key", secrets.token_bytes(1024), 0o600)
        self._write("jwt.key", self._jwt_key, 0o600)
        for number in range(GPUS):
            self._write(f"gpu{number}", b"", 0o644)  # gres.conf wants files; with a bare count the node is invalid
        self._write("slurm.conf", self._slurm_conf().encode(), 0o644)
        self._write(
            "gres.conf", f"AutoDetect=off\nName=gpu Type=h200 File={folder}/gpu[0-{GPUS - 1}]\n".encode(), 0o644
        )
        self._write("cgroup.conf", b"CgroupAutomount=no\n", 0o644)
        self._write("slurmdbd.conf", self._slurmdbd_conf().encode(), 0o600)
        run = folder / "run"
        self._spawn(
            "munged", "--foreground", "--force", f"--key-file={folder}/munge.key", f"--socket={run}/munge.sock",
            f"--pid-file={run}/munged.pid", f"--log-file={folder}/log/munged.log", f"--seed-file={run}/munged.seed",
        )  # fmt: skip
        self._start_database()
        self._spawn("slurmdbd", "-D")
        _wait_for(lambda: _listens(self._ports["accounting"]), "slurmdbd")
        self.command("sacctmgr", "-i", "add", "cluster", "alliance")
        self.command("sacctmgr", "-i", "add", "account", "jga")
        self.command("sacctmgr", "-i", "add", "user", "root", "account=jga")
        self._spawn("slurmctld", "-D", "-c", "-i")
        self._spawn("slurmd", "-D")
        self._spawn(
            "slurmrestd", "-a", "rest_auth/jwt", "-s", "openapi/v0.0.38,openapi/dbv0.0.38",
            f"127.0.0.1:{self._ports['rest']}", user=NOBODY, environment={"SLURM_JWT": "daemon"},
        )  # fmt: skip
        self._start_ssh()
        _wait_for(lambda: _listens(self._ports["rest"]) and _listens(self._ports["ssh"]), "slurmrestd and sshd")
        _wait_for(lambda: "idle" in self.command("sinfo", "-h", "-o", "%T", check=False), "an idle node")

    def stop(self) -> None:
        """Jobs first: what still runs would outlive its daemons."""
        with contextlib.suppress(OSError, AssertionError):  # a cluster that never came up has none
            self.command("scancel", "--user=root", check=False)  # KillWait later it kills what does not listen
            _wait_for(lambda: not self.command("squeue", "-h", check=False).strip(), "an empty queue")
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def command(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=30)
        assert not check or done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
        return done.stdout

    def rest_account(self, *, lifespan_s: int = 3600) -> Account:
        now = int(time.time())
        token = jwt.encode({"sun": "root", "iat": now, "exp": now + lifespan_s}, self._jwt_key, "HS256")
        return Account(
            "slurm_rest",
            f"http://127.0.0.1:{self._ports['rest']}",
            {"user": "root", "token": token},
            {"work_dir": str(self.folder / "jobs"), "account": "jga", "raises_limits": "true"},
        )

    def ssh_account(self) -> Account:
        host_key = (self.folder / "host_key.pub").read_text().split()
        return Account(
            "slurm_ssh",
            f"127.0.0.1:{self._ports['ssh']}",
            {
                "user": "root",
                "private_key": (self.folder / "user_key").read_text(),
                "known_hosts": f"[127.0.0.1]:{self._ports['ssh']} {host_key[0]} {host_key[1]}\n",
            },
            {"work_dir": str(self.folder / "jobs"), "account": "jga", "raises_limits": "true"},
        )

    def _start_database(self) -> None:
        data, run = self.folder / "mysql", self.folder / "run"
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            check=True, capture_output=True,
        )  # fmt: skip
        self._spawn(
            "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={run}/mysql.sock",
            f"--port={self._ports['database']}", "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=64M",
            f"--pid-file={run}/mysql.pid",
        )  # fmt: skip
        _wait_for(lambda: (run / "mysql.sock").exists() and _listens(self._ports["database"]), "MariaDB")
        statements = (
            "CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm'; GRANT ALL ON slurm.* TO 'slurm'@'127.0.0.1';"
            "CREATE USER 'slurm'@'localhost' IDENTIFIED BY 'slurm'; GRANT ALL ON slurm.* TO 'slurm'@'localhost';"
        )
        subprocess.run(
            ["mariadb", "--no-defaults", f"--socket={run}/mysql.sock", "--user=root", "-e", statements], check=True
        )

    def _start_ssh(self) -> None:
        folder = self.folder
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        self._write(
            "sshd.conf",
            f"""Port {self._ports["ssh"]}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
PidFile {folder}/run/sshd.pid
SetEnv SLURM_CONF={folder}/slurm.conf
Subsystem sftp internal-sftp
""".encode(),
            0o644,
        )
        Path("/run/sshd").mkdir(
            mode=0o755, exist_ok=True
        )  # sshd's place to lock itself into; it does not start without
        self._spawn("sshd", "-D", "-e", "-f", str(folder / "sshd.conf"))

    def _spawn(self, name: str, *words: str, user: int = 0, environment: dict[str, str] | None = None) -> None:
        program = _program(name)
        assert program is not None
        log = (self.folder / "log" / f"{name}.out").open("wb")
        process = subprocess.Popen(
            [program, *words],
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            user=user,
            group=user,
            extra_groups=[],
            start_new_session=True,
        )
        self._processes.append(process)

    def _write(self, name: str, data: bytes, mode: int) -> None:
        path = self.folder / name
        path.write_bytes(data)
        path.chmod(mode)

    def _slurm_conf(self) -> str:
        folder, ports, host = self.folder, self._ports, socket.gethostname().partition(".")[0]
        return f"""ClusterName=alliance
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports["controller"]}
SlurmdPort={ports["node"]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={folder}/jwt.key
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=5
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports["accounting"]}
AccountingStoragePass={folder}/run/munge.sock
AccountingStorageTRES=gres/gpu,gres/gpu:h200
DefMemPerCPU=1000
KillWait=8
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=64 Sockets=2 CoresPerSocket=32 ThreadsPerCore=1 RealMemory=512000 Gres=gpu:h200:{GPUS} State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""  # noqa: E501 - a node is one line

    def _slurmdbd_conf(self) -> str:
        folder, ports = self.folder, self._ports
        return f"""DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={ports["accounting"]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={folder}/jwt.key
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports["database"]}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
PidFile={folder}/run/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
"""


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A short folder: a socket's path has 107 characters at most."""
    made = Cluster(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_for(condition: Callable[[], bool], what: str, *, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come up"
        time.sleep(0.1)
