"""The same image, bit for bit, wherever, whenever and by whomever it is built; and who says so."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli
from tests.integration.conftest import Builds

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]
Project = Callable[[Mapping[str, str]], str]
EPOCH = "1600000000"

COPIES = """
FROM scratch AS one
COPY a /a
FROM scratch AS two
WORKDIR /w/x
COPY --chmod=755 b c/ ./
FROM scratch
COPY --from=one / /one/
COPY --link --from=two /w /two/
COPY <<EOF /text
some $WORD
EOF
ENV A=1
LABEL b=2
CMD ["/one/a"]
"""
FILES = {"Dockerfile": COPIES, "a": "a\n", "b": "b\n", "c/d": "d\n", "c/e": "e\n"}
DIGEST = "sha256:9d0d1c6966f9c72908ab32ee63ee3d0ca359b51dac8e73dd6f66dc85f4bc6eff"


def digest_of(cli: Cli, context: str, *flags: str, output: str = "", **env: str) -> str:
    """Build; the digest of the image."""
    path = Path(context).parent / "metadata.json"
    words = f"type=oci,rewrite-timestamp=true,dest={os.devnull}{output}"
    env = {"SOURCE_DATE_EPOCH": EPOCH, **env}
    cli("build", "-q", "-o", words, "--metadata-file", str(path), *flags, context, env=env)
    data: dict[str, Any] = json.loads(path.read_text())
    return str(data["containerimage.digest"])


def test_one_digest_for_every_account_and_machine(cli: Cli, project: Project) -> None:
    """Written down, so it is the same for whoever runs the tests. Not compressed: libraries for
    that may pack tighter one day."""
    context = project(FILES)
    flags = ("--platform=linux/amd64",)
    assert digest_of(cli, context, *flags, output=",compression=uncompressed") == DIGEST


@pytest.mark.needs("busybox")
def test_other_folder_time_umask_store_and_jobs(
    builds: Builds, project: Project, busybox_tar: str, tmp_path: Path
) -> None:
    """Everything at once; what is built has steps that run at the same time."""
    stages = "".join(f"FROM busybox AS s{n}\nRUN echo {n} > /s{n}; mkdir /d{n}\n" for n in range(4))
    copies = "".join(f"COPY --from=s{n} /s{n} /d{n} /all/{n}/\n" for n in range(4))
    files = {**FILES, "Dockerfile": f"{stages}FROM busybox\n{copies}COPY . /src/\nRUN rm /src/b\n"}
    one = digest_of(builds.cli, project(files), "--jobs=4")
    time.sleep(1.1)
    other = Cli(str(tmp_path / "elsewhere" / "store"))
    other("image", "import", busybox_tar, "busybox:latest")
    before = os.umask(0o077)
    try:
        later = project(dict(reversed(files.items())))
    finally:
        os.umask(before)
    for path in (Path(later), *Path(later).rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # modes are of the files, times are not
    assert digest_of(other, later, "--jobs=1", TZ="Asia/Tokyo", LC_ALL="C") == one
    assert digest_of(other, later, "--no-cache") == one


def test_without_an_epoch_times_tell_builds_apart(cli: Cli, project: Project) -> None:
    one = digest_of(cli, project(FILES), SOURCE_DATE_EPOCH="")
    assert digest_of(cli, project(FILES), "--no-cache", SOURCE_DATE_EPOCH="") != one


# --- verify -------------------------------------------------------------------------------------


def test_verify_of_what_is_reproducible(cli: Cli, project: Project, tmp_path: Path) -> None:
    """It says the digest that a build with its settings has."""
    context, kept = project(FILES), str(tmp_path / "kept")
    done = cli("verify", "-q", "--keep", kept, context)
    assert done.stdout.startswith("reproducible  sha256:")
    digest = done.stdout.split()[1]
    assert digest_of(cli, context, SOURCE_DATE_EPOCH="315532800") == digest
    for name in ("first", "second"):
        (found,) = json.loads(Path(kept, name, "index.json").read_text())["manifests"]
        assert found["digest"] == digest
    assert "is there already" in cli("verify", "--keep", kept, context, code=2).stderr


@pytest.mark.needs("busybox")
@pytest.mark.parametrize(
    ("step", "path", "what"),
    [
        ("touch /f; cat /proc/sys/kernel/random/uuid > /var/log/x", "/var/log/x", "remove logs"),
        ("touch /f-$(cat /proc/sys/kernel/random/uuid)", "/f-", "only in the "),
    ],
)
def test_verify_names_the_first_step_and_file(
    builds: Builds, project: Project, step: str, path: str, what: str
) -> None:
    lines = ["FROM busybox", "RUN mkdir -p /var/log && echo same > /same"]
    lines += [f"RUN {step}", "RUN cat /proc/sys/kernel/random/uuid > /later"]
    done = builds.cli("verify", "-q", project({"Dockerfile": "\n".join(lines)}), code=1)
    told = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[1:])
    assert done.stdout.startswith("not reproducible: 2 of ")
    assert told["step"].startswith(f"RUN {step[:8]}")
    assert told["file"].startswith(path)
    assert what in done.stdout


def test_verify_of_times_that_are_before_the_epoch(cli: Cli, project: Project) -> None:
    late = {"SOURCE_DATE_EPOCH": str(int(time.time()) + 1000)}
    done = cli("verify", "-q", project(FILES), code=1, env=late)
    assert "(time)" in done.stdout and "choose one before those of the context" in done.stdout


def test_verify_of_what_does_not_build(cli: Cli, project: Project) -> None:
    """The error of the build, and its code; and what makes no sense is refused."""
    context = project({"Dockerfile": "FROM scratch\nCOPY missing /\n"})
    assert "missing" in cli("verify", context, code=6).stderr
    assert "of no use here" in cli("verify", "--push", context, code=2).stderr
    assert "only once" in cli("verify", "-", code=2).stderr
