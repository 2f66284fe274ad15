"""How a Slurm job runs in its container image: a setting of the account, one piece of shell for both adapters.

`pyxis` (srun's plugin over enroot) and `apptainer` (as a command on the nodes) need nobody's root. Read, not tried: the
real ones are in no package of Debian 12. Sources: NVIDIA/pyxis README and args.c (9afee40, a9c4634), NVIDIA/enroot
doc/cmd/import.md and src/docker.sh (5e00ade, 067079e), apptainer-exec(1) of 2026-06, apptainer's engine, which passes
signals on where there is no terminal (all read 2026-11-25). Tried: the script around them with real srun on Debian's
Slurm 22.05.8, whose plugin's options a stand-in takes away; and a stand-in for apptainer that checks its arguments.

Both programs must be on the job's path, which over slurmrestd is /usr/local/bin:/usr/bin:/bin. A job of several nodes
runs on its first, as without a container, but srun is not within reach of its program.
"""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Mapping

from portal.providers.base import JobSpec
from portal.providers.bootstrap import BootstrapExit
from portal.providers.errors import Misconfigured, Rejected

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REGISTRY = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:))(?::\d{1,5})?"
_IMAGE = re.compile(
    rf"(?:(?P<registry>{_REGISTRY})/)?(?P<name>{_PART}(?:/{_PART})*)"
    r"(?P<tag>:\w[\w.-]{0,127})?(?P<digest>@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_DOCKER_HUB = {"docker.io", "index.docker.io", "registry-1.docker.io"}


class ContainerRuntime(enum.Enum):
    NONE = "none"  # jobs run on the machine itself, and an image is not used
    PYXIS = "pyxis"
    APPTAINER = "apptainer"


def container_runtime(options: Mapping[str, str]) -> ContainerRuntime:
    """The option `container_runtime`. Raises Misconfigured for a word that is none of ours."""
    word = options.get("container_runtime") or ContainerRuntime.NONE.value
    try:
        return ContainerRuntime(word)
    except ValueError:
        known = ", ".join(runtime.value for runtime in ContainerRuntime)
        raise Misconfigured(f"the option container_runtime is {word[:40]!r}: it can be {known}") from None


def work_of(spec: JobSpec, runtime: ContainerRuntime) -> str:
    """Shell that ends with the exit code of the spec's script, run in its image where the account runs images.

    Raises Rejected for an image that the runtime cannot be given.
    """
    if runtime is ContainerRuntime.NONE or not spec.image:
        return spec.script
    start = _pyxis(spec.image) if runtime is ContainerRuntime.PYXIS else _apptainer(spec)
    return _AROUND.format(start=start, script=shlex.quote(spec.script), not_started=int(BootstrapExit.NO_TOOL))


# A stop reaches this shell, and with some process trackers nothing else: it passes it on and waits for the saving. The
# claim is the first thing that the script makes, so without it the image was never entered.
_AROUND = """\
child='' stopped=''
trap 'stopped=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM INT
{start} /bin/sh -c {script} </dev/null &
child=$!
while :; do
    wait "$child"
    code=$?
    [ "$code" -gt 128 ] && kill -0 "$child" 2>/dev/null || break
done
if [ "$code" -ne 0 ] && [ -z "$stopped" ] && [ ! -d "${{PORTAL_WORK_DIR:-$PWD}}/.portal" ]; then
    echo 'portal: the container image could not be started'
    code={not_started}
fi
exit "$code"
"""


def _pyxis(image: str) -> str:
    """srun prints a line of its own where the script does not end with 0."""
    return (
        f"srun --quiet --nodes=1 --ntasks=1 --export=ALL --container-image={shlex.quote(_enroot_image(image))}"
        ' --container-mounts="$PWD:$PWD" --container-workdir="$PWD"'
        " --no-container-mount-home --no-container-entrypoint"
    )


def _apptainer(spec: JobSpec) -> str:
    _parts(spec.image)
    gpus = "--nv " if spec.gpus else ""
    return f'apptainer --quiet exec {gpus}--no-home --bind "$PWD" --pwd "$PWD" {shlex.quote(f"docker://{spec.image}")}'


def _enroot_image(image: str) -> str:
    """[REGISTRY#]IMAGE[:TAG]; without a registry it is Docker Hub's. What begins with / or . would be a file."""
    parts = _parts(image)
    if parts["digest"]:
        # enroot 3 reads what stands before an "@" as the name of a user.
        raise Rejected(f"the image {image!r} is named by its digest, which pyxis cannot be given", failure="image")
    registry = "" if parts["registry"] in (None, *_DOCKER_HUB) else f"{parts['registry']}#"
    return f"{registry}{parts['name']}{parts['tag'] or ''}"


def _parts(image: str) -> re.Match[str]:
    if len(image) > 500 or not (match := _IMAGE.fullmatch(image)):
        raise Rejected(f"{image[:100]!r} is not the name of a container image", failure="image")
    return match
