"""What a failed job's page says of its cause, in whole sentences: what happened, and what the reader can do now."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from portal.jobs.failure_rules import Cause
from portal.jobs.wording import FAILURES, LOST, Explanation

# What is not here is said well enough by its class, see `explanation_of`.
CAUSES: dict[Cause, Explanation] = {
    Cause.CUDA_OUT_OF_MEMORY: Explanation(
        _("The program needed more GPU memory than one GPU of this plan has."),
        _("Choose GPUs with more memory, or make the batch, the context or the model smaller."),
    ),
    Cause.HOST_OUT_OF_MEMORY: Explanation(
        _("The program needed more main memory than the machine gives it."),
        _("Choose a plan with more main memory, or load the data in smaller parts and with fewer workers."),
    ),
    Cause.SHARED_MEMORY: Explanation(
        _("The shared memory of the container (/dev/shm) was too small."),
        _("Use fewer data loader workers, for PyTorch num_workers=0, or share tensors by files."),
    ),
    Cause.IMAGE_NOT_FOUND: Explanation(
        _("The registry does not have this container image."),
        _("Check the image's name and its tag for typing errors, and that the tag still exists."),
    ),
    Cause.IMAGE_DENIED: Explanation(
        _("The registry does not give this container image to us."),
        _(
            "If the image is private, an owner or manager has to keep a login for its registry. Otherwise check its"
            " name: many registries answer so for an image they do not have."
        ),
    ),
    Cause.IMAGE_RATE_LIMITED: Explanation(
        _("The registry lets no more images be fetched for the moment."),
        _("Try again later, or keep a login for the registry: it is then counted for your organization alone."),
    ),
    Cause.WRONG_ARCHITECTURE: Explanation(
        _("The image or program was built for another kind of processor than this plan has (x86_64 and Arm)."),
        _("Choose a plan of the other kind, or an image that is built for both."),
    ),
    Cause.IMAGE_LACKS_TOOLS: Explanation(
        _("The container image lacks a tool that every job needs."),
        _("Use an image with sh, and with curl or python3."),
    ),
    Cause.INPUT_MISSING: Explanation(
        _("The program looked for an input file that the job does not have."),
        _("Attach the data to the job, and compare the path in the program with the one under Configuration."),
    ),
    Cause.DATA_DAMAGED: Explanation(
        _("A file could not be read: it is cut off, damaged, or of another kind than the program expects."),
        _("Check the file under Datasets, upload it again if needed, then copy the job."),
    ),
    Cause.FILE_MISSING: Explanation(
        _("The program looked for a file that is not there."),
        _("Every job begins in an empty folder with its script. Attach what it needs as data, or correct the path."),
    ),
    Cause.PERMISSION_DENIED: Explanation(
        _("The program may not read, write or execute something there."),
        _("Write to $PORTAL_OUTPUT_DIR or the working folder, and begin scripts with sh or python3."),
    ),
    Cause.DISK_FULL: Explanation(
        _("The machine's disk was full."),
        _("Choose a plan with a larger disk, or delete intermediate files and keep fewer checkpoints."),
    ),
    Cause.TOO_MANY_FILES: Explanation(
        _("The program had too many files open at once."),
        _("Close files after use, or use fewer data loader workers."),
    ),
    Cause.MODULE_MISSING: Explanation(
        _("A Python module that the program imports is not installed."),
        _("Use an image that has it, or install it first in the script: pip install …"),
    ),
    Cause.LIBRARY_MISSING: Explanation(
        _("A system library is missing or of another version than the program needs."),
        _("Use an image whose CUDA, cuDNN and system libraries fit the program."),
    ),
    Cause.COMMAND_MISSING: Explanation(
        _("A command that the script calls is not installed."),
        _("Use an image that has it, or install it first in the script."),
    ),
    Cause.PACKAGE_NOT_FOUND: Explanation(
        _("A package could not be found or built while it was being installed."),
        _("Check its name and version, and that it exists for this Python and processor, or use an image that has it."),
    ),
    Cause.NETWORK_UNREACHABLE: Explanation(
        _("The program could not reach an address on the network."),
        _("Try again if it is usually reached. Better keep the files as a dataset, so that the job needs no network."),
    ),
    Cause.MODEL_DENIED: Explanation(
        _("The model is not there, or wants a login that has been given access."),
        _("Check the model's name, accept its terms at its hub, and give the token as a secret, e.g. HF_TOKEN."),
    ),
    Cause.LOGIN_MISSING: Explanation(
        _("A service that the program uses wants a key, and it was given none or a wrong one."),
        _("Give the key as a secret of the job. A copied job has its secrets' names only: enter the values again."),
    ),
    Cause.PORT_IN_USE: Explanation(
        _("The program wanted a network port that another program had."),
        _("Use another port. With torchrun: --rdzv-endpoint=localhost:0."),
    ),
    Cause.NCCL_TIMEOUT: Explanation(
        _("The program's processes waited for one another until they gave up."),
        _("One of them has stopped or is far slower: read the log for the first that failed, or try again."),
    ),
    Cause.NCCL_ERROR: Explanation(
        _("The connection between the program's processes or GPUs broke."),
        _("Read the log for the first process that failed. If none did, try again; NCCL_DEBUG=INFO tells more."),
    ),
    Cause.DRIVER_MISMATCH: Explanation(
        _("The program's CUDA is newer than the GPU driver of this plan."),
        _("Use an image with an older CUDA, or another plan."),
    ),
    Cause.GPU_NOT_SUPPORTED: Explanation(
        _("The program was not built for the GPU of this plan."),
        _("Use a newer release of the library, built for this GPU, or choose another GPU."),
    ),
    Cause.GPU_NOT_FOUND: Explanation(
        _("The program found no GPU, or fewer than it wanted."),
        _("Ask for as many GPUs as the program uses, and use an image whose libraries are built with CUDA."),
    ),
    Cause.CUDA_ERROR: Explanation(
        _("A calculation on the GPU failed."),
        _("Mostly an index out of range or a bug in a kernel. CUDA_LAUNCH_BLOCKING=1 shows the line that caused it."),
    ),
    Cause.GPU_FAULT: Explanation(
        _("The log shows a fault of the GPU or its connection."),
        _("Run it again, best elsewhere. If it happens twice, tell our support the job's code."),
    ),
    Cause.SEGFAULT: Explanation(
        _("The program crashed: it used memory that is not its own (segmentation fault)."),
        _("A bug in compiled code, or libraries that do not fit together. Read the log for what it did last."),
    ),
    Cause.KILLED_BY_SIGNAL: Explanation(
        _("The program was ended by a signal and did not say why."),
        _("Signal 9 (exit code 137) often means that memory ran out. Read the log for what it did last."),
    ),
    Cause.ARGUMENTS: Explanation(
        _("The program was called with wrong or missing arguments."),
        _("Correct the command in a copy of the job."),
    ),
    Cause.PYTHON_TRACEBACK: Explanation(
        _("Your Python program ended with an exception."),
        _("The lines below tell where. Correct the script in a copy of the job."),
    ),
    Cause.PREEMPTED: Explanation(
        _("The provider took the machine for a job that goes first. The time it ran until then is charged."),
        _("Run it again from a copy. Files are saved when a job ends or is stopped; of this one none may be left."),
    ),
    Cause.NODE_FAILURE: Explanation(
        _("The provider's machine failed while the job ran. The time it ran until then is charged."),
        _("Copy the job and run it again, on the same plan or another."),
    ),
    # What the machine's copy of our script says of itself. It cannot tell whose fault it was, and neither can we.
    Cause.NOT_STARTED: Explanation(
        _("Your program was not begun: the machine did not get the job's instructions, or no place to work in."),
        _("Copy the job and run it again. If it happens twice, tell our support the job's code."),
    ),
    Cause.OUTPUT_NOT_SAVED: Explanation(
        _("Your program ended well, but what it had made could not be saved."),
        _(
            "The log's last lines say why: more than 5 GB when packed, an image without tar and python3, a full disk,"
            " or a storage that could not be reached. Correct it in a copy of the job, or run it again."
        ),
    ),
    Cause.LOST: LOST,
}


def explanation_of(cause: Cause | None, failure: str) -> Explanation | None:
    """By the cause; where there is none, or its class says the same, by the class."""
    return (CAUSES.get(cause) if cause else None) or FAILURES.get(failure)
