"""The image of docs/ci/Dockerfile, built by minibuild from packages of this machine.

The stage of the Dockerfile that gathers the program runs apt and pip. Here it is a folder that the
same docs/ci/relocate.py fills from this machine's interpreter and this checkout.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.conftest import CHECKOUT, Cli

ENVIRONMENT = {
    "PATH": "/minibuild/bin:/busybox",
    "HOME": "/root",
    "MINIBUILD_ROOT": "/minibuild/store",
    "DOCKER_CONFIG": "/minibuild/.docker",
    "TMPDIR": "/minibuild/tmp",
    "SSL_CERT_FILE": "/minibuild/etc/ca-certificates.crt",
}
"""What the image says of its environment."""
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "_pytest", "pip", "mypy*", "ruff*", "hypothesis*")
_PACKAGES = (
    *(
        "dockerfile_parse",
        "isal",
        "pyseccomp.py",
        "shtab",
        "tqdm",
        "urllib3",
        "zstandard",
        "xattr*",
    ),
)


def gather(folder: Path) -> Path:
    """The stage `tree`: a folder with what its image has in /out."""
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    shutil.copytree(CHECKOUT / "minibuild", wheels / "minibuild", ignore=_LEFT_OUT)
    frontend = "minibuild_dockerfile"
    shutil.copytree(CHECKOUT / "frontends" / frontend, wheels / frontend, ignore=_LEFT_OUT)
    for where in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for pattern in _PACKAGES:
            for found in Path(where).glob(pattern):
                if found.is_dir():
                    shutil.copytree(found, wheels / found.name, ignore=_LEFT_OUT)
                elif not (wheels / found.name).exists():
                    shutil.copy(found, wheels)
    python = os.path.realpath(sys.executable)
    script = str(CHECKOUT / "docs/ci/relocate.py")
    subprocess.run([python, script, str(wheels), str(folder / "tree/out")], check=True)
    return folder / "tree"


def build(cli: Cli, tree: Path, target: str, *flags: str) -> str:
    """Build a target of the Dockerfile above that stage; what the build said."""
    dockerfile = str(CHECKOUT / "docs/ci/Dockerfile")
    given = ("--build-context", f"tree={tree}", "--target", target, "-f", dockerfile)
    return cli("build", *given, *flags, str(CHECKOUT / "docs/ci")).stderr
