"""Secrets and ssh agents, what is missing and said exactly, and programs for other machines."""

import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.integration.built import Built
from tests.integration.conftest import Builds
from tests.support import busybox

pytestmark = pytest.mark.integration


# --- what a step may see and nobody else ----------------------------------------------------------


@pytest.mark.needs("mount", "busybox", "ssh-agent")
def test_an_ssh_mount_has_the_mode_and_owner_asked_for(
    builds: Builds, tmp_path: Path, project: Callable[[Mapping[str, str]], str]
) -> None:
    key = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    context = project(
        {
            "Dockerfile": "FROM busybox\n"
            "RUN --mount=type=ssh,required,mode=04640 "
            "test -S $SSH_AUTH_SOCK && stat -c %a $SSH_AUTH_SOCK > /mode\n"
            'RUN --mount=type=ssh,id=other echo "$SSH_AUTH_SOCK" > /none\n'
        }
    )
    image = builds.image(context, f"--ssh=default={key}")
    assert image.files["mode"].data == b"640\n"
    assert image.files["none"].data == b"/run/buildkit/ssh_agent.0\n", "as with BuildKit"


@pytest.mark.needs("mount", "busybox")
def test_a_secret_is_nowhere(
    builds: Builds, tmp_path: Path, project: Callable[[Mapping[str, str]], str]
) -> None:
    secret = "Xe7pLq93vNhR2sKd"
    (tmp_path / "secret").write_text(secret)
    context = project(
        {
            "Dockerfile": "FROM busybox\n"
            "RUN --mount=type=secret,id=file --mount=type=secret,id=env,env=TOKEN "
            "test $(wc -c < /run/secrets/file) = 16 && test ${#TOKEN} = 16 && touch /done\n"
            "RUN --mount=type=secret,id=file,mode=06755 "
            "test $(stat -c %a /run/secrets/file) = 755\n"
            "RUN --mount=type=secret,id=env,env=A=B test ${#A} = 18 && test ${A#B=} != $A\n"
            "RUN --mount=type=secret,id=file ls /run/secrets\n"
        }
    )
    out = tmp_path / "image"
    done = builds.cli(
        "build",
        "--progress=rawjson",
        f"--secret=id=file,src={tmp_path}/secret",
        "--secret=id=env,env=TOKEN",
        f"--metadata-file={tmp_path}/metadata",
        f"--output=type=oci,dest={out}",
        f"--output=type=local,dest={tmp_path}/files",
        context,
        env={"TOKEN": secret},
    )
    assert (tmp_path / "files/done").exists()
    assert secret not in done.stdout + done.stderr
    for folder, _, names in os.walk(tmp_path):
        for name in names:
            path = Path(folder, name)
            if path == tmp_path / "secret" or not path.is_file() or path.is_symlink():
                continue
            with suppress(PermissionError):  # files of other ids in a rootless store
                assert secret.encode() not in whole(path), path


def whole(path: Path) -> bytes:
    """The bytes of a file, and what is compressed in it."""
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        import gzip

        return data + gzip.decompress(data)
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as tar:
            members = [tar.extractfile(m) for m in tar.getmembers() if m.isfile()]
            for member in members:
                assert member is not None
                inner = member.read()
                data += inner
                if inner.startswith(b"\x1f\x8b"):
                    import gzip

                    data += gzip.decompress(inner)
    return data


# --- what is not there, and what does not run -----------------------------------------------------


@pytest.mark.needs("mount")
@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("COPY nosuch /", "the build context has .dockerignore"),
        ("COPY raedme /", "did you mean /readme?"),
        ("COPY b.log /", "/b.log is there, but it is excluded by line 3 of .dockerignore: *.log"),
        ("COPY ../up /", "../up is outside the build context"),
        ("ADD sub/../../../up /", "../up is outside the build context"),
        ("COPY sub/a/x /", "/sub/a is not a directory"),
        ("RUN --device=gpu true", "a step gets no devices"),
        ("RUN --security=insecure true", "--allow security.insecure"),
        ("RUN --network=host true", "--allow network.host"),
    ],
)
def test_what_is_missing(build: Built, tmp_path: Path, line: str, hint: str) -> None:
    folder = tmp_path / "ctx"
    (folder / "sub").mkdir(parents=True)
    for name in ("readme", "b.log", "sub/a", "../up"):
        (folder / name).write_text("x")
    (folder / ".dockerignore").write_text("# what\n\n*.log\n")
    (folder / "Dockerfile").write_text(f"FROM scratch\n{line}\n")
    said = build(str(folder), code=6)
    assert hint in said
    assert "Dockerfile:2" in said


@pytest.mark.needs("mount", "busybox")
def test_a_program_for_another_machine(build: Built, tmp_path: Path) -> None:
    binary = bytearray(Path(str(busybox.find())).read_bytes())
    binary[18:20] = b"\xf3\0" if os.uname().machine != "riscv64" else b"\x3e\0"  # e_machine, elf(5)
    (tmp_path / "ctx").mkdir()
    (tmp_path / "ctx/sh").write_bytes(binary)
    (tmp_path / "ctx/sh").chmod(0o755)
    (tmp_path / "ctx/Dockerfile").write_text("FROM scratch\nCOPY sh /bin/sh\nRUN true\n")
    said = build(str(tmp_path / "ctx"), code=5)
    assert "exec format error: built for another machine" in said
    assert "install emulation for it" in said


@pytest.mark.needs("mount")
def test_several_platforms_where_nothing_runs(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM scratch\nARG TARGETARCH\nCOPY bin-$TARGETARCH /bin/app\n"
    )
    for name in ("amd64", "arm64"):
        (tmp_path / f"bin-{name}").write_text(name)
    cli(
        "build",
        "--platform=linux/amd64,linux/arm64",
        f"--output=type=local,dest={tmp_path}/out",
        str(tmp_path),
    )
    for name in ("amd64", "arm64"):
        assert (tmp_path / f"out/linux_{name}/bin/app").read_text() == name
    cli("build", "--platform=linux/amd64,linux/arm64", "-t", "both", str(tmp_path))
    listed = json.loads(cli("image", "ls", "--format", "json").stdout)
    assert "linux/amd64" in str(listed) and "linux/arm64" in str(listed)
