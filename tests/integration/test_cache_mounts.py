"""Which steps share a cache mount, what a new one starts with, and whose it is, as in BuildKit."""

from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds
from tests.support import probes

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

Project = Callable[[Mapping[str, str]], str]

PAIRS = [
    # options of a step that leaves a file, of one that looks for it, and whether it is there
    ("", "", True),
    ("", "sharing=locked", True),
    ("", "uid=0", False),
    ("", "mode=0755", False),
    ("uid=0", "gid=0", True),
    ("uid=0", "mode=0755,uid=0,gid=0", True),
    ("uid=10", "uid=10", True),
    ("uid=10", "uid=11", False),
    ("uid=10", "gid=10", False),
    ("uid=10,gid=10", "uid=10", False),
    ("mode=0700", "mode=700", True),
    ("mode=0700", "mode=0701", False),
    ("mode=1777", "mode=777", True),
    ("id=other", "", False),
    ("from=tree", "", False),
    ("from=tree", "from=tree", True),
    ("from=tree", "from=tree,uid=10", False),
    ("from=tree,source=/d", "from=tree", False),
    ("from=tree,source=/d,uid=10", "from=tree,source=/d,mode=700", True),
]


def test_which_steps_share_a_cache(builds: Builds, project: Project) -> None:
    lines = ["FROM busybox AS tree", "RUN mkdir /d", "FROM busybox"]
    for number, (leaves, looks, _) in enumerate(PAIRS):
        for options, command in zip((leaves, looks), ("touch /c/here", "ls /c/here"), strict=True):
            more = f",{options}" if options else ""
            id = "" if "id=other" in options else f",id=cache{number}"
            lines.append(
                f"RUN --mount=type=cache,target=/c{id}{more} {command} 2>/dev/null"
                f" && echo {number} >> /there || true"
            )
    image = builds.image(project({"Dockerfile": "\n".join(lines)}))
    seen = image.files["there"].data.decode().split()
    first, second = range(len(PAIRS)), [n for n, pair in enumerate(PAIRS) if pair[2]]
    assert sorted(map(int, seen)) == sorted([*first, *second])


TREE = """FROM scratch AS empty
FROM scratch AS tree
COPY --chown=5:6 --chmod=711 f /d/
COPY --chown=7:8 --chmod=750 f /cache/kept
FROM busybox
"""
STARTS = [
    ("", "755 0:0"),
    ("mode=0700", "700 0:0"),
    ("mode=01777", "777 0:0"),
    ("uid=10", "755 10:0"),
    ("gid=10,mode=0070", "70 0:10"),
    ("from=tree", "755 0:0 cache d"),
    ("from=tree,source=/d", "711 5:6 f"),
    ("from=tree,source=/d,uid=10,mode=0700", "711 5:6 f"),
    ("from=tree,uid=10", "750 7:8 kept"),
    ("from=empty,uid=10,mode=0700", "700 10:0"),
    ("from=empty", "755 0:0"),
]


@pytest.mark.skipif(
    not probes.able("root") and not probes.able("subids"), reason="needs more ids than one"
)
def test_what_a_new_cache_starts_with(builds: Builds, project: Project) -> None:
    """A source brings its owner; an owner without a source means the directory /cache."""
    lines = [
        f"RUN --mount=type=cache,target=/c,id=start{number},{options or 'sharing=shared'} "
        "echo $(stat -c '%a %u:%g' /c) $(ls /c) >> /seen"
        for number, (options, _) in enumerate(STARTS)
    ]
    part = "RUN --mount=type=cache,target=/c,id=part"
    lines += [
        f"{part} stat -c %a /c >> /seen; mkdir -m 711 /c/x",
        f"{part},source=x,mode=0 stat -c %a /c >> /seen",
    ]
    image = builds.image(project({"Dockerfile": TREE + "\n".join(lines), "f": "f"}))
    assert image.files["seen"].data.decode().splitlines() == [start for _, start in STARTS] + [
        "755",
        "711",
    ]


def test_without_the_cache(builds: Builds, project: Project) -> None:
    """A build with --no-cache begins with empty caches, and later builds go on with them; the steps
    of one build still share them."""
    folder = project(
        {
            "Dockerfile": """FROM busybox AS made
RUN touch /f
FROM busybox
ARG STEP
RUN --mount=type=cache,target=/plain --mount=type=cache,from=made,target=/from,id=x \
    echo $(ls /plain) from $(ls /from | grep -v -e bin -e dev) > /seen && \
    touch /plain/$STEP /from/$STEP
RUN --mount=type=cache,target=/plain ls /plain > /after
"""
        }
    )
    images = [
        builds.image(folder, f"--build-arg=STEP={step}", *flags).files
        for step, flags in (("1", []), ("2", []), ("3", ["--no-cache"]), ("4", []))
    ]
    seen = [files["seen"].data.decode().split() for files in images]
    assert images[2]["after"].data == b"3\n"
    plain = [words[: words.index("from")] for words in seen]
    begun = [[word for word in words if word.isdigit()] for words in seen]
    assert plain == [[], ["1"], [], ["3"]]
    assert begun == [[], ["1", "1"], [], ["3", "3"]]


def test_names_on_the_way(builds: Builds, project: Project) -> None:
    """A cache of an owner has an id of its own, and goes along under the name its step gives."""
    text = (
        "FROM busybox\nRUN --mount=type=cache,id=a,target=/c,mode=0700 {}\n"
        "RUN --mount=type=cache,id=b,target=/c touch /c/f\n"
    )
    there = f"{builds.folder}/there"
    first = project({"Dockerfile": text.format("touch /c/here")})
    builds.image(first, f"--cache-mount-to=type=local,dest={there},id=a")
    listed = builds.cli("cache-mount", "ls", "-q").stdout.splitlines()
    assert listed == ["a of 0:0 0700", "b"]

    builds.cli("cache-mount", "rm", "a", "b")
    assert builds.cli("cache-mount", "ls", "-q").stdout == ""
    back = f"type=local,src={there},id=a"
    second = project({"Dockerfile": text.format("ls /c > /seen")})
    assert builds.image(second, f"--cache-mount-from={back}").files["seen"].data == b"here\n"

    builds.cli("cache-mount", "rm", "a", "b")
    assert builds.cli("cache-mount", "import", back).stdout == "imported  a of 0:0 0700\n"
