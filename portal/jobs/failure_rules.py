"""What the signs of a failure mean, as data: the only place to change when a new wording turns up.

A sign is plain text that must stand in one line, in small letters; " … " in it stands for anything between its parts.
Signs are looked for, never executed as patterns: a line of a customer's log is read once from left to right, whatever
stands in it. The first rule of the list that has a sign in the log wins, see diagnosis.py for what counts as the log.

Add the failure to tests/jobs/failures.toml first, then its sign here.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from portal.jobs.states import FailureClass


class Cause(enum.StrEnum):
    """What exactly went wrong: one sentence of portal.jobs.explaining each. Stored with jobs: never renamed."""

    CUDA_OUT_OF_MEMORY = "cuda_out_of_memory"
    HOST_OUT_OF_MEMORY = "host_out_of_memory"
    SHARED_MEMORY = "shared_memory"
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_DENIED = "image_denied"
    IMAGE_RATE_LIMITED = "image_rate_limited"
    WRONG_ARCHITECTURE = "wrong_architecture"
    IMAGE_UNUSABLE = "image_unusable"
    IMAGE_LACKS_TOOLS = "image_lacks_tools"
    INPUT_MISMATCH = "input_mismatch"
    INPUT_MISSING = "input_missing"
    DATA_DAMAGED = "data_damaged"
    FILE_MISSING = "file_missing"
    PERMISSION_DENIED = "permission_denied"
    DISK_FULL = "disk_full"
    TOO_MANY_FILES = "too_many_files"
    MODULE_MISSING = "module_missing"
    LIBRARY_MISSING = "library_missing"
    COMMAND_MISSING = "command_missing"
    PACKAGE_NOT_FOUND = "package_not_found"
    NETWORK_UNREACHABLE = "network_unreachable"
    MODEL_DENIED = "model_denied"
    LOGIN_MISSING = "login_missing"
    PORT_IN_USE = "port_in_use"
    NCCL_TIMEOUT = "nccl_timeout"
    NCCL_ERROR = "nccl_error"
    DRIVER_MISMATCH = "driver_mismatch"
    GPU_NOT_SUPPORTED = "gpu_not_supported"
    GPU_NOT_FOUND = "gpu_not_found"
    CUDA_ERROR = "cuda_error"
    GPU_FAULT = "gpu_fault"
    SEGFAULT = "segfault"
    KILLED_BY_SIGNAL = "killed_by_signal"
    ARGUMENTS = "arguments"
    PYTHON_TRACEBACK = "python_traceback"
    PROGRAM_ERROR = "program_error"
    TIME_LIMIT = "time_limit"
    OVER_BUDGET = "over_budget"
    PREEMPTED = "preempted"
    NODE_FAILURE = "node_failure"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    NOT_STARTED = "not_started"
    OUTPUT_NOT_SAVED = "output_not_saved"


class Cure(enum.StrEnum):
    """One thing to change in a copy of the job; which of them are possible now is for portal.jobs.cures to say."""

    AGAIN = "again"  # nothing: the same may go well another time
    EDIT = "edit"  # whatever the person finds in the log: the form, filled
    MORE_GPU_MEMORY = "more_gpu_memory"
    MORE_MEMORY = "more_memory"
    MORE_DISK = "more_disk"
    OTHER_GPU = "other_gpu"
    OTHER_ARCHITECTURE = "other_architecture"
    OTHER_PROVIDER = "other_provider"
    LONGER = "longer"
    HIGHER_CAP = "higher_cap"


@dataclass(frozen=True)
class Rule:
    """`signs` in a line of the log mean `cause`, where the exit code is `exit` (None: whatever it is).

    `above`: this must stand in one of the four lines before. `echo`: often the consequence of another process's
    failure, so that it counts only where nothing else does. `lasting`: counts although the program went on to another
    exception afterwards.
    """

    failure: FailureClass
    cause: Cause
    signs: tuple[str, ...]
    exit: int | None = None
    above: str = ""
    echo: bool = False
    lasting: bool = False


_P, _M, _I, _D = FailureClass.PROGRAM, FailureClass.OUT_OF_MEMORY, FailureClass.IMAGE, FailureClass.DATA_MISSING

# Who is to pay never follows from a log: its writer is the customer. None of these classes says that somebody else
# has failed, and a test keeps it so.
CLASSES_OF_A_LOG = frozenset({_P, _M, _I, _D})

RULES: tuple[Rule, ...] = (
    # The kernel's word on the machine itself: whatever the program said afterwards followed from it.
    Rule(
        _P,
        Cause.GPU_FAULT,
        (
            "nvrm: xid",
            "uncorrectable ecc",
            "fallen off the bus",
            "gpu is lost",
            "uncorrectable nvlink error",
            "row remapping failure",
        ),
        lasting=True,
    ),
    # /dev/shm, not main memory and not the GPU's: its own cure. Before NCCL's and signals' words, which follow it.
    Rule(
        _M,
        Cause.SHARED_MEMORY,
        (
            "insufficient shared memory",
            "out of shared memory",
            "failed to extend /dev/shm",
            "creating shared memory segment",
            "dev/shm … no space left",
            "no space left … dev/shm",
        ),
        lasting=True,
    ),
    # Slurm's step daemon says it of the whole job, in the words of several of its versions.
    Rule(
        _M,
        Cause.HOST_OUT_OF_MEMORY,
        (
            "slurmstepd: error: detected … oom",
            "slurmstepd: error: … oom-kill event",
            "srun: error: … out of memory",
            "slurmstepd: error: … exceeded memory limit",
            "cgroup out-of-memory handler",
        ),
        lasting=True,
    ),
    # GPU memory. Before every other sign of CUDA: one process that has none left makes the others fail in NCCL. What
    # is said in passing ("trying a smaller batch") is told from the end by the exception that comes after it.
    Rule(
        _M,
        Cause.CUDA_OUT_OF_MEMORY,
        (
            "cuda out of memory",
            "torch.outofmemoryerror",
            "torch.cuda.outofmemoryerror",
            "cuda error: out of memory",
            "cuda_error_out_of_memory",
            "cuda failure … out of memory",
            "cudamalloc … out of memory",
            "cudaerrormemoryallocation",
            "gpuassert: out of memory",
            "cupy.cuda … outofmemory",
            "cublas_status_alloc_failed",
            "cudnn_status_alloc_failed",
            "hip out of memory",
            "resource_exhausted: … out of memory",
            "resource_exhausted: … failed to allocate",
            "resource_exhausted: … allocat",
            "resource exhausted: … out of memory",
            "resourceexhaustederror",
            "oom when allocating tensor",
            "no available memory for the cache blocks",
            "can be stored in kv cache",
            "is needed … larger than the available kv cache memory",
            "free memory on device … less than desired gpu memory utilization",
            "unable to allocate cuda",
            "nccl warn cuda failure … out of memory",
        ),
    ),
    # Main memory, in the words of programs; "MemoryError" last, it is a part of other names.
    Rule(
        _M,
        Cause.HOST_OUT_OF_MEMORY,
        (
            "defaultcpuallocator: … memory",
            "cannot allocate memory",
            "メモリを確保できません",
            "std::bad_alloc",
            "_arraymemoryerror",
            "unable to allocate … for an array",
            "killed due to … low on memory",
            "running low on memory",
            "exited unexpectedly … killed",
            "is killed by signal: killed",
            "excessive memory usage causing",
            "out of memory: killed process",
            "oom-kill",
            "oomkilled",
            "memoryerror",
        ),
    ),
    # A shell tells that something took its program's life with signal 9, which only the system does here: the portal
    # itself sends it to a job that is being stopped, and those have another class.
    Rule(_M, Cause.HOST_OUT_OF_MEMORY, (" killed ", ": killed", "強制終了"), exit=137),
    # A machine that cannot execute what it was given; the loader's words before "not found" and "denied".
    Rule(
        _I,
        Cause.WRONG_ARCHITECTURE,
        (
            "exec format error",
            "cannot execute binary file",
            "バイナリファイルを実行できません",
            "no match for … platform",
            "no matching manifest for",
            "image's architecture … could not run on",
            "does not match the detected host platform",
            "does not match the specified platform",
            "wrong elf class",
        ),
    ),
    Rule(_I, Cause.IMAGE_RATE_LIMITED, ("toomanyrequests", "pull rate limit", "429 too many requests … pull")),
    # Who may not see an image is often told that there is none: "denied" is looked for before "not found".
    Rule(
        _I,
        Cause.IMAGE_DENIED,
        (
            "pull access denied",
            "requested access to the resource is denied",
            "invalid registry permission",
            "unauthorized: authentication required",
            "unauthorized: access … not authorized",
            "failed to authorize",
            "failed to pull … unauthorized",
            "failed to pull … 401",
            "failed to pull … 403",
            "failed to pull … forbidden",
            "pyxis: … 401",
            "pyxis: … 403",
            "/manifests/ … 401",
            "/manifests/ … 403",
            "no basic auth credentials",
        ),
    ),
    Rule(
        _I,
        Cause.IMAGE_NOT_FOUND,
        (
            "image not found",
            "no such image",
            "manifest unknown",
            "manifest for … not found",
            "name unknown: … repository",
            "failed to pull … not found",
            "failed to resolve reference … not found",
            "invalid reference format",
            "invalid image reference",
            "errimagepull",
            "imagepullbackoff",
            "pyxis: … 404",
            "/manifests/ … 404",
        ),
    ),
    # It was fetched and cannot be begun: an image without a shell, or an entry point that is none.
    Rule(
        _I,
        Cause.IMAGE_UNUSABLE,
        (
            "enroot-switchroot: failed to execute",
            "oci runtime create failed … exec",
            "unable to start container process",
            "exec /bin/sh: no such file",
            'exec: "/bin/sh": … no such file',
        ),
    ),
    Rule(_I, Cause.IMAGE_LACKS_TOOLS, ("portal: this image has neither",)),
    # Before all that fails when nothing more can be written.
    Rule(
        _P,
        Cause.DISK_FULL,
        (
            "no space left on device",
            "デバイスに空き領域がありません",
            "disk quota exceeded",
            "ディスク使用量制限を超過",
            "pytorchstreamwriter failed writing",
            "not enough free disk space",
            "enospc",
        ),
    ),
    Rule(_P, Cause.TOO_MANY_FILES, ("too many open files", "emfile")),
    # Models and services that want a login say so with 401, which is no fault of the network.
    Rule(
        _P,
        Cause.MODEL_DENIED,
        (
            "gatedrepoerror",
            "cannot access gated repo",
            "access to model … is restricted",
            "repositorynotfounderror",
            "repository not found for url",
            "is not a valid model identifier",
            "private or gated repo",
        ),
    ),
    Rule(
        _P,
        Cause.LOGIN_MISSING,
        (
            "api_key not configured",
            "api key not configured",
            "no api key",
            "unable to locate credentials",
            "could not read username for",
            "401 client error: unauthorized",
            "authentication failed for",
        ),
    ),
    # Before what pip and apt say of packages they could not ask for.
    Rule(
        _P,
        Cause.NETWORK_UNREACHABLE,
        (
            "temporary failure in name resolution",
            "temporary failure resolving",
            "name or service not known",
            "could not resolve host",
            "failed to resolve '",
            "一時的に解決できません",
            "名前解決に失敗",
            "network is unreachable",
            "no route to host",
            "failed: connection timed out",
            "failed to connect to … port",
            "connection refused",
            "接続を拒否されました",
            "max retries exceeded with url",
            "localentrynotfounderror",
            "we couldn't connect to 'https",
            "read timed out",
        ),
    ),
    # Libraries before modules (Python says ImportError of both) and before files (a library is one).
    Rule(
        _P,
        Cause.LIBRARY_MISSING,
        (
            "cannot open shared object file",
            "error while loading shared libraries",
            "version `glibc",
            "version `cxxabi",
            "undefined symbol:",
            "could not load library lib",
            "unable to load … libcud",
        ),
    ),
    Rule(
        _P,
        Cause.MODULE_MISSING,
        (
            "modulenotfounderror",
            "no module named",
            "importerror: cannot import name",
            "importerror: … not found in your environment",
            "importerror: … pip install",
            "packagenotfounderror: no package metadata",
        ),
    ),
    Rule(
        _P,
        Cause.PACKAGE_NOT_FOUND,
        (
            "no matching distribution found",
            "could not find a version that satisfies",
            "e: unable to locate package",
            "e: パッケージ … が見つかりません",
            "has no installation candidate",
            "packagesnotfounderror",
            "could not build wheels",
            "failed building wheel",
            "metadata-generation-failed",
            "error compiling objects for extension",
            "failed to build installable wheels",
            "resolutionimpossible",
        ),
    ),
    # A program that is not there, in the words of shells, env and Python's subprocess.
    Rule(
        _P,
        Cause.COMMAND_MISSING,
        (
            "command not found",
            "コマンドが見つかりません",
            "/usr/bin/env: … no such file",
            "executable file not found",
            "error: command … failed: no such file",
        ),
    ),
    Rule(_P, Cause.COMMAND_MISSING, (": not found",), exit=127),
    Rule(_P, Cause.COMMAND_MISSING, ("filenotfounderror: … no such file",), above="_execute_child"),
    # A file below $PORTAL_DATA_DIR, which is a folder "data" wherever jobs run: the person's own data.
    Rule(
        _D,
        Cause.INPUT_MISSING,
        (
            "/data/ … no such file or directory",
            "no such file or directory: … /data/",
            "no such file or directory: 'data/",
            "no such file or directory: './data/",
            "filenotfounderror: … /data/",
            "/data/ … そのようなファイルやディレクトリはありません",
            "notfounderror: … /data/",
        ),
    ),
    Rule(
        _D,
        Cause.DATA_DAMAGED,
        (
            "badzipfile",
            "not a gzip file",
            "not in gzip format",
            "unexpected end of file",
            "ended before the end-of-stream marker",
            "image file is truncated",
            "cannot identify image file",
            "unidentifiedimageerror",
            "error while deserializing header",
            "failed reading zip archive",
            "truncated file:",
            "file signature not found",
            "parquet magic bytes not found",
            "unpicklingerror",
            "pickle data was truncated",
            "tarfile.readerror",
            "crc error",
            "unexpected eof",
            "this does not look like a tar archive",
            "datalosserror",
            "checksum … mismatch",
        ),
    ),
    Rule(
        _P,
        Cause.PERMISSION_DENIED,
        (
            "permission denied",
            "許可がありません",
            "operation not permitted",
            "read-only file system",
            "読み込み専用ファイルシステム",
            "permissionerror",
            "are you root?",
        ),
    ),
    Rule(
        _P,
        Cause.FILE_MISSING,
        (
            "no such file",
            "そのようなファイルやディレクトリはありません",
            "filenotfounderror",
            "can't open file",
            "can't cd to",
            "incorrect path_or_model_id",
            "does not exist … path",
            "not a directory",
        ),
    ),
    # The GPU is not what the program was made for, or not there; before the general words of CUDA.
    Rule(
        _P,
        Cause.DRIVER_MISMATCH,
        (
            "driver on your system is too old",
            "driver version is insufficient",
            "please update your driver",
            "update your gpu driver",
            "driver/library version mismatch",
            "unsupported display driver / cuda driver combination",
            "forward compatibility was attempted",
            "provided ptx was compiled with an unsupported toolchain",
        ),
    ),
    Rule(
        _P,
        Cause.GPU_NOT_SUPPORTED,
        (
            "no kernel image is available",
            "only supports ampere",
            "ampere gpus or newer",
            "is not defined for option 'gpu-name'",
            "compute capability of at least",
            "is not compatible with the current pytorch installation",
            "unsupported gpu architecture",
            "requires compute capability",
            "not supported on this gpu",
        ),
    ),
    Rule(
        _P,
        Cause.GPU_NOT_FOUND,
        (
            "no cuda gpus are available",
            "not compiled with cuda enabled",
            "found no nvidia driver",
            "invalid device ordinal",
            "exceeds the total number of available gpus",
            "no cuda-capable device",
            "torch.cuda.is_available() is false",
            "cuda is not available",
            "no gpu found",
            "no devices were found",
            "failed to infer device type",
        ),
    ),
    Rule(
        _P,
        Cause.PORT_IN_USE,
        ("address already in use", "eaddrinuse", "アドレスは既に使用中です"),
    ),
    # A bug in a kernel or in what it was given: the program's own, on a healthy GPU.
    Rule(
        _P,
        Cause.CUDA_ERROR,
        (
            "illegal memory access",
            "device-side assert",
            "cublas_status_",
            "cudnn_status_",
            "unspecified launch failure",
            "misaligned address",
            "cuda error:",
            "cuda_error_",
        ),
    ),
    # Crashes by their own words; torchrun and srun tell of their children.
    Rule(
        _P,
        Cause.SEGFAULT,
        ("segmentation fault", "セグメンテーション違反", "sigsegv", "segfault"),
    ),
    # Several processes that waited for one that was gone: counts where none of them says why it went.
    Rule(
        _P,
        Cause.NCCL_TIMEOUT,
        (
            "watchdog caught collective operation timeout",
            "collective operation timed out",
            "rendezvoustimeouterror",
            "timed out … waiting for clients",
            "timed out waiting … operation to complete",
            "dist … wait timeout after",
            "the client socket has timed out",
            "heartbeat monitor timed out",
        ),
        echo=True,
    ),
    Rule(
        _P,
        Cause.NCCL_ERROR,
        (
            "nccl error",
            "ncclremoteerror",
            "ncclsystemerror",
            "ncclinternalerror",
            "ncclinvalidusage",
            "nccl communicator was aborted",
            "nccl warn",
            "distbackenderror",
            "connection closed by peer",
        ),
        echo=True,
    ),
    # argparse's own words, also where a launcher ends with another code than the program's 2.
    Rule(_P, Cause.ARGUMENTS, (": error: the following arguments are required", ": error: unrecognized arguments")),
    Rule(
        _P,
        Cause.ARGUMENTS,
        (
            ": error: argument ",
            ": error: no such option",
            "invalid choice: ",
            "unrecognized option",
            "invalid option -- ",
        ),
        exit=2,
    ),
    # Last of the log's signs: that a process was ended by a signal says least about why.
    Rule(
        _P,
        Cause.KILLED_BY_SIGNAL,
        (
            "aborted (core dumped)",
            "illegal instruction",
            "sigabrt",
            "sigkill",
            "sigbus",
            "sigill",
            "bus error",
            "(signal 9)",
        ),
        echo=True,
    ),
)

# Exceptions that only tell that another process has failed: their traceback is not the end that is looked for.
AFTERMATH = (
    "childfailederror",
    "processraisedexception",
    "processexitedexception",
    "calledprocesserror",
    "engine core initialization failed",
    "engine process failed to start",
    "enginedeaderror",
    "brokenpipeerror",
    "connectionreseterror",
    "broken process pool",
    "worker_died",
    "subprocess-exited-with-error",
)


@dataclass(frozen=True)
class ProviderRule:
    """Where the provider's end means `of`, and its reason has one of `reasons` ((): whatever it is), it is `cause`.

    `also_log`: a sign of the log will do where the reason says nothing; only for a rule that keeps the class `of`.
    """

    of: FailureClass
    failure: FailureClass
    cause: Cause
    reasons: tuple[str, ...] = ()
    also_log: tuple[str, ...] = ()


# Where the provider is sure, it is believed, and the log is not asked for another class. The first that fits.
PROVIDER_RULES: tuple[ProviderRule, ...] = (
    ProviderRule(FailureClass.TIME_LIMIT, FailureClass.TIME_LIMIT, Cause.TIME_LIMIT),
    ProviderRule(FailureClass.OVER_BUDGET, FailureClass.OVER_BUDGET, Cause.OVER_BUDGET),
    # Slurm: NODE_FAIL and BOOT_FAIL carry these reasons. A machine that went away is not the same as one taken away.
    ProviderRule(
        FailureClass.INTERRUPTED,
        FailureClass.MACHINE,
        Cause.NODE_FAILURE,
        ("nodefail", "node_fail", "nodedown", "node down", "node failure", "bootfail", "boot_fail", "machine is gone"),
    ),
    # Slurm's state PREEMPTED mostly has the reason "None"; the step daemon writes the word into the log.
    ProviderRule(
        FailureClass.INTERRUPTED,
        FailureClass.INTERRUPTED,
        Cause.PREEMPTED,
        ("preempt",),
        ("slurmstepd: error: … due to preemption",),
    ),
    ProviderRule(FailureClass.INTERRUPTED, FailureClass.INTERRUPTED, Cause.INTERRUPTED),
    ProviderRule(FailureClass.OUT_OF_MEMORY, FailureClass.OUT_OF_MEMORY, Cause.HOST_OUT_OF_MEMORY),
)

# What the portal's own script says with its exit code (providers.bootstrap.BootstrapExit), by Outcome.reason.
CAUSES_OF_OUTCOMES: dict[str, Cause] = {
    "lost": Cause.LOST,
    "input_missing": Cause.INPUT_MISMATCH,
    "image_lacks_tools": Cause.IMAGE_LACKS_TOOLS,
    "not_started": Cause.NOT_STARTED,
    "output_not_saved": Cause.OUTPUT_NOT_SAVED,
}

# Where no line says more: 128 + the signal's number, as shells and Slurm show it.
CAUSES_OF_CODES: dict[int, Cause] = {
    139: Cause.SEGFAULT,
    127: Cause.COMMAND_MISSING,
    **{128 + signal: Cause.KILLED_BY_SIGNAL for signal in (2, 4, 6, 7, 8, 9, 13, 14, 15, 24, 25)},
}

# What is named in the sentence: the exception, the module, the file. Tried on the one line that shows the cause; each
# begins with a fixed text and has no repetition inside another, so that its time grows with the line.
NAMES: dict[Cause, re.Pattern[str]] = {
    Cause.MODULE_MISSING: re.compile(r"(?:No module named|cannot import name) '?([\w.]{1,80})"),
    Cause.LIBRARY_MISSING: re.compile(r"(lib[\w.+-]{1,60}?\.so[.\d]{0,12})"),
    Cause.COMMAND_MISSING: re.compile(r"([\w./+-]{1,80}): (?:command not found|not found|コマンドが見つかりません)"),
    Cause.FILE_MISSING: re.compile(r"No such file or directory: '([^']{1,120})'"),
    Cause.INPUT_MISSING: re.compile(r"No such file or directory: '([^']{1,120})'"),
    Cause.PERMISSION_DENIED: re.compile(r"Permission denied: '([^']{1,120})'"),
}

_ELSEWHERE = (Cure.AGAIN, Cure.OTHER_PROVIDER)
# What may help, the likeliest first. What is not listed is for the person to find: EDIT.
CURES: dict[Cause, tuple[Cure, ...]] = {
    Cause.CUDA_OUT_OF_MEMORY: (Cure.MORE_GPU_MEMORY, Cure.EDIT),
    Cause.HOST_OUT_OF_MEMORY: (Cure.MORE_MEMORY, Cure.EDIT),
    Cause.SHARED_MEMORY: (Cure.EDIT, Cure.OTHER_PROVIDER),
    Cause.IMAGE_RATE_LIMITED: (Cure.AGAIN, Cure.EDIT),
    Cause.WRONG_ARCHITECTURE: (Cure.OTHER_ARCHITECTURE, Cure.EDIT),
    Cause.INPUT_MISMATCH: (Cure.AGAIN, Cure.EDIT),
    Cause.DISK_FULL: (Cure.MORE_DISK, Cure.EDIT),
    Cause.NETWORK_UNREACHABLE: (Cure.AGAIN, Cure.EDIT),
    Cause.NCCL_TIMEOUT: (Cure.AGAIN, Cure.EDIT),
    Cause.NCCL_ERROR: (Cure.AGAIN, Cure.EDIT),
    Cause.DRIVER_MISMATCH: (Cure.EDIT, Cure.OTHER_PROVIDER),
    Cause.GPU_NOT_SUPPORTED: (Cure.OTHER_GPU, Cure.EDIT),
    Cause.GPU_FAULT: _ELSEWHERE,
    Cause.KILLED_BY_SIGNAL: (Cure.AGAIN, Cure.EDIT),
    Cause.TIME_LIMIT: (Cure.LONGER, Cure.EDIT),
    Cause.OVER_BUDGET: (Cure.HIGHER_CAP, Cure.EDIT),
    Cause.PREEMPTED: _ELSEWHERE,
    Cause.NODE_FAILURE: _ELSEWHERE,
    Cause.INTERRUPTED: _ELSEWHERE,
    Cause.LOST: _ELSEWHERE,
    Cause.NOT_STARTED: _ELSEWHERE,
    Cause.OUTPUT_NOT_SAVED: _ELSEWHERE,
}
# Of jobs that were never diagnosed: refused at the hand-over, or ended before there were causes.
CURES_OF_CLASSES: dict[FailureClass, tuple[Cure, ...]] = {
    FailureClass.NO_CAPACITY: (Cure.OTHER_PROVIDER, Cure.AGAIN),
    FailureClass.INTERRUPTED: _ELSEWHERE,
    FailureClass.MACHINE: _ELSEWHERE,
    FailureClass.OUT_OF_MEMORY: (Cure.MORE_GPU_MEMORY, Cure.MORE_MEMORY, Cure.EDIT),
    FailureClass.TIME_LIMIT: (Cure.LONGER, Cure.EDIT),
    FailureClass.ACCESS_REFUSED: (Cure.OTHER_PROVIDER, Cure.AGAIN),
    FailureClass.OVER_BUDGET: (Cure.HIGHER_CAP, Cure.EDIT),
    FailureClass.PORTAL: _ELSEWHERE,
}
