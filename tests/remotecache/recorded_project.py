"""A project whose cache BuildKit wrote once, and edits of it.

`recorded.json` has the document of the cache, and for each edit the steps that BuildKit then found
in it. `python -m tests.remotecache.recorded_project --help` says how it is made again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.cache_exchange import steps_of

RECORDED = Path(__file__).with_name("recorded.json")
ARGS = {"VERSION": "1.0", "HTTP_PROXY": "http://127.0.0.1:9"}

DOCKERFILE = """\
FROM busybox AS tools
ARG VERSION
RUN echo "$VERSION" > /version
WORKDIR /tools/bin
COPY src/ /tools/src/
COPY --chmod=0750 --chown=7:8 src/main.c /tools/main.c
COPY --chown=daemon:daemon src/main.c /owned
RUN --mount=type=bind,source=src,target=/in --mount=type=cache,target=/root/.cache \\
    --mount=type=cache,id=named,target=/named,sharing=locked --mount=type=tmpfs,target=/t \\
    --mount=type=secret,id=none cat /in/main.c > /tools/bin/main
RUN --network=none <<EOF
echo "<&>\u2028" > /odd
EOF

FROM scratch AS files
COPY *.md /docs/
COPY --exclude=*.log --exclude=deep/er logs /logs
COPY --parents src/./deep/**/*.txt /parents/
COPY link /followed
COPY lin* /links/
COPY dir/*.txt /through/
COPY --exclude=nothing src/main.c /single/
COPY od\\\\[* o*d /odd/
COPY empty tree /both/
COPY <<one <<two /here/
1
one
2
two
ADD src /added

FROM busybox
COPY --from=tools /tools/bin/main /version /bin/
COPY --link --from=files /docs /docs
COPY --link src/main.c /linked/
USER 7
RUN cat /bin/main > /tmp/out
RUN --mount=from=files,source=/logs,target=/logs,rw ls /logs
COPY --from=files . /all/
RUN --mount=target=/context ls /context > /tmp/listed
COPY --exclude=Dockerfile . /context
"""

FILES = {
    "README.md": "read me\n", "NOTES.md": "notes\n", "src/main.c": "int main;\n",
    "src/deep/one.txt": "1\n", "src/deep/er/two.txt": "2\n", "logs/a.log": "log\n",
    "logs/a.txt": "text\n", "logs/deep/b.txt": "b\n", "logs/deep/er/c": "c\n", "empty": "",
    "tree/.hidden": "h\n", "od[d": "odd\n", "tree/na\u00efve": "n\n", "unused": "unused\n",
}  # fmt: skip


def write(context: Path) -> None:
    """Make the project in an empty folder."""
    (context / "Dockerfile").write_text(DOCKERFILE)
    for name, text in FILES.items():
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (context / "tree/bare").mkdir()
    (context / "tree/up").symlink_to("../src/main.c")
    (context / "link").symlink_to("src/main.c")
    (context / "dir").symlink_to("src/deep")
    for path in context.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    (context / "tree/.hidden").chmod(0o4711)


def _replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(context: Path) -> None:
        text = (context / name).read_text()
        assert old in text
        (context / name).write_text(text.replace(old, new, 1))

    return change


def _retarget(context: Path) -> None:
    (context / "tree/up").unlink()
    (context / "tree/up").symlink_to("../src/deep/one.txt")


EDITS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda context: None,
    "times": lambda context: [os.utime(path, (1, 1)) for path in context.rglob("*.*")],
    "a file that nothing reads": lambda context: (context / "unused").write_text("other\n"),
    "a file": _replace("src/main.c", "main", "other"),
    "the mode of a file": lambda context: (context / "src/main.c").chmod(0o600),
    "a file that an exclusion leaves out": _replace("logs/a.log", "log", "other"),
    "a file that a pattern takes": lambda context: (context / "MORE.md").write_text("more\n"),
    "a file below a pattern": _replace("src/deep/er/two.txt", "2", "3"),
    "the target of a symlink": _retarget,
    "the mode of a directory": lambda context: (context / "tree/bare").chmod(0o700),
    "a name": lambda context: (context / "tree/.hidden").rename(context / "tree/.hid"),
    "a flag": _replace("Dockerfile", "0750", "0751"),
    "the id of a cache": _replace("Dockerfile", "id=named", "id=other"),
    "a command": _replace("Dockerfile", "cat /bin/main", "cat  /bin/main"),
    "a network": _replace("Dockerfile", "RUN --network=none", "RUN"),
    "text in the Dockerfile": _replace("Dockerfile", "\n1\n", "\n3\n"),
    "a user": _replace("Dockerfile", "USER 7", "USER 8"),
    "a base": _replace("Dockerfile", "FROM scratch AS files", "FROM busybox AS files"),
}
"""What each edit does to the project."""

# --- Recording ------------------------------------------------------------------------------------


def main() -> None:
    """Build the project with a BuildKit and write down what it finds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--addr", required=True, help="of a buildkitd that has built nothing")
    parser.add_argument("--buildctl", default="buildctl")
    parser.add_argument("--layout", required=True, help="an OCI layout with busybox in it")
    parser.add_argument("--base", required=True, help="the digest of busybox there")
    options = parser.parse_args()
    control = [options.buildctl, "--addr", options.addr]
    with tempfile.TemporaryDirectory() as folder:
        cache = f"{folder}/cache"

        def build(edit: Callable[[Path], object], flag: str) -> str:
            context = Path(tempfile.mkdtemp(dir=folder))
            write(context)
            edit(context)
            subprocess.run([*control, "prune", "--all"], check=True, stdout=subprocess.DEVNULL)
            done = subprocess.run(
                [
                    *control, "build", "--frontend=dockerfile.v0", "--progress=rawjson", flag,
                    f"--local=context={context}", f"--local=dockerfile={context}",
                    "--opt=platform=linux/amd64",
                    *(f"--opt=build-arg:{key}={value}" for key, value in ARGS.items()),
                    f"--opt=context:busybox=oci-layout://base@{options.base}",
                    f"--oci-layout=base={options.layout}",
                ],
                check=True, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            return done.stderr

        build(EDITS["nothing"], f"--export-cache=type=local,dest={cache},mode=max")
        found = {}
        for name, edit in EDITS.items():
            steps = steps_of(build(edit, f"--import-cache=type=local,src={cache}"))[1]
            found[name] = sorted(steps.elements())
        document = _config(Path(cache))
    value = {"base": options.base, "document": document, "found": found}
    RECORDED.write_text(json.dumps(value, indent=1) + "\n")


def _config(layout: Path) -> object:
    """The document of the cache in a layout. When its layers were made is of no account."""

    def read(digest: str) -> dict[str, object]:
        found: dict[str, object] = json.loads((layout / "blobs/sha256" / digest[7:]).read_text())
        return found

    index = json.loads((layout / "index.json").read_text())
    manifest: dict[str, dict[str, str]] = read(index["manifests"][0]["digest"])  # type: ignore[assignment]
    return read(manifest["config"]["digest"])


if __name__ == "__main__":
    sys.exit(main())
