"""`build --plan`: what it says comes true; and nothing is run, written or entered for it."""

import gc
import json
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import minibuild
from minibuild.errors import BuildError
from minibuild.events import Completed, Event
from minibuild.linux.namespace import needs_user_namespace
from minibuild.record.planning import Plan, plan
from minibuild.session.request import BuildRequest, Output
from minibuild.snapshot import select
from minibuild.snapshot.native import NativeSnapshotter
from tests.conftest import Cli
from tests.integration.conftest import Builds
from tests.support.probes import able
from tests.support.webserver import serving

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

DOCKERFILE = """\
FROM busybox AS base
RUN mkdir /app && echo base > /app/base

FROM base AS build
ARG VERSION=1
ENV MODE=prod
COPY src/ /src/
RUN cat /src/* > /app/all; wc -c < /app/all > /app/size

FROM base AS tools
COPY --from=build /app/size /tools/size
RUN --mount=type=bind,from=build,source=/app,target=/in cp /in/size /tools/copy

FROM base
WORKDIR /srv
COPY --link --from=build /app/size /srv/size
COPY --link --from=tools /tools /tools
COPY conf /etc/conf
RUN --mount=type=bind,source=src/a,target=/a cat /a > /srv/a
COPY --from=tools /tools/copy /srv/copy
"""
BASE, SOURCES, JOIN, FROM_BUILD, MOUNT_BUILD = 2, 7, 8, 11, 12
WORK, LINK, LINK_TOOLS, CONF, MOUNT, LAST = 15, 16, 17, 18, 19, 20
LINES = (BASE, SOURCES, JOIN, FROM_BUILD, MOUNT_BUILD, WORK, LINK, LINK_TOOLS, CONF, MOUNT, LAST)


class Project:
    """A context that is planned and built."""

    def __init__(self, folder: Path, root: str) -> None:
        self.folder, self.root = folder, root
        for name, text in {
            "src/a": "a\n", "src/b": "b\n", "conf/x": "x\n", "README": "", "Dockerfile": DOCKERFILE
        }.items():  # fmt: skip
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    def request(self, **options: Any) -> BuildRequest:
        return BuildRequest(str(self.folder), outputs=(Output("cacheonly"),), **options)

    def plan(self, *changed: str, **options: Any) -> Plan:
        request = self.request(**options)
        return plan(request, root=self.root, changed=changed)

    def build(self, **options: Any) -> dict[str, bool]:
        """Whether each vertex was found in the cache."""
        cached: dict[str, bool] = {}

        def report(event: Event) -> None:
            if isinstance(event, Completed):
                cached[event.vertex] = event.cached

        minibuild.build(self.request(**options), root=self.root, report=report)
        return cached

    def states(self, *changed: str, **options: Any) -> dict[int, str]:
        """The steps that are not sure to be found in the cache, by their lines."""
        return {
            one.step.line: "runs" if one.certain else "may run"
            for one in self.plan(*changed, **options).to_run
        }


@pytest.fixture
def project(cli: Cli, tmp_path: Path, busybox_store: str) -> Project:
    cli.has_busybox(busybox_store)
    return Project(tmp_path / "context", cli.root)


@pytest.fixture(params=["best", "native"])
def snapshots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this host does best, and full copies."""
    if request.param == "native":
        if needs_user_namespace():
            pytest.skip("without root the engine is a process of its own, which picks the best")
        monkeypatch.setattr(select, "open_snapshotter", lambda store, _: NativeSnapshotter(store))


def written(root: str) -> dict[str, tuple[int, int]]:
    """All that is in a store, with sizes and times of change."""
    return {
        path: (found.st_size, found.st_mtime_ns)
        for folder, _, names in os.walk(root)
        for path in (folder, *(os.path.join(folder, name) for name in names))
        if not path.endswith("-shm")  # the memory that readers share
        for found in [os.lstat(path)]
    }


def edit(project: Project, chance: random.Random) -> dict[str, Any]:
    """A random change of the context, often back to what it was; and options of the build."""
    folder = project.folder
    for name in ("src/a", "src/b", "conf/x"):
        if chance.random() < 0.3:
            (folder / name).write_text(chance.choice(("a\n", "b\n", "c\n", "long\n")))
    if chance.random() < 0.2:
        (folder / "conf/x").chmod(chance.choice((0o600, 0o644)))
    if chance.random() < 0.2:
        text = DOCKERFILE.replace("MODE=prod", f"MODE={chance.choice('xyz')}")
        (folder / "Dockerfile").write_text(text)
    if chance.random() < 0.2:
        text = DOCKERFILE.replace("echo base", f"echo {chance.choice('xyz')}")
        (folder / "Dockerfile").write_text(text)
    options: dict[str, Any] = {}
    if chance.random() < 0.2:
        options["build_args"] = {"VERSION": chance.choice("12")}
    if chance.random() < 0.1:
        options["no_cache_filter"] = frozenset([chance.choice(("build", "tools"))])
    if chance.random() < 0.1:
        options["target"] = "tools"
    return options


@pytest.mark.usefixtures("snapshots")
def test_a_plan_comes_true(project: Project) -> None:
    """What it says is cached is then found, what it says runs then runs; of the rest it says on
    what that depends."""
    chance = random.Random(4516)
    certain = 0
    for _ in range(8):
        options = edit(project, chance)
        gc.collect()  # Connections of threads that ended write what they hold back.
        before = written(project.root)
        steps = project.plan(**options).steps
        assert written(project.root) == before
        cached = project.build(**options)
        for one in steps:
            if one.certain:
                assert cached[one.step.digest] == one.cached, one
                certain += 1
            else:
                assert one.unless, one
    assert certain > 60  # of 88 or fewer


def test_another_target_of_what_was_built(project: Project) -> None:
    """It is compared with what was built from the same files, and its times are known."""
    project.build()
    made = project.plan("src/a", target="tools")
    found = {one.step.line: one for one in made.to_run}
    assert list(found) == [SOURCES, JOIN, FROM_BUILD, MOUNT_BUILD]
    assert all(one.seconds is not None for one in found.values())
    told = {told.step.line: told for told in made.story.told}
    assert [cause.text for cause in told[SOURCES].causes] == ["/src/a: contents"]


def test_a_file_that_would_be_changed(project: Project) -> None:
    """`--if` foretells the plan of that change, and touches nothing."""
    project.build()
    foretold = project.states("src/b")
    assert (project.folder / "src/b").read_text() == "b\n"
    (project.folder / "src/b").write_text("another text\n")
    assert project.states() == foretold == {
        SOURCES: "runs", JOIN: "runs", FROM_BUILD: "may run", MOUNT_BUILD: "may run",
        LINK: "may run", LINK_TOOLS: "may run", CONF: "may run", MOUNT: "may run", LAST: "may run",
    }  # fmt: skip


Change = Callable[[Project], Any]

CERTAIN: dict[str, tuple[Change, dict[int, str]]] = {
    "nothing": (lambda p: None, {}),
    "touch": (lambda p: os.utime(p.folder / "src/a", (1, 1)), {}),
    "a copied file": (
        lambda p: {"changed": "conf/x"},
        {CONF: "runs", MOUNT: "runs", LAST: "runs"},
    ),
    "a folder": (
        lambda p: {"changed": "conf"},
        {CONF: "runs", MOUNT: "runs", LAST: "runs"},
    ),
    "what no step reads": (lambda p: {"changed": "README"}, {}),
    "no cache at all": (lambda p: {"no_cache": True}, dict.fromkeys(LINES, "runs")),
    "the first command": (
        lambda p: (p.folder / "Dockerfile").write_text(DOCKERFILE.replace("echo base", "echo x")),
        {**dict.fromkeys(LINES, "runs"), LINK: "may run", LINK_TOOLS: "may run"},
    ),
    "a build argument": (
        lambda p: {"build_args": {"VERSION": "2"}},
        {JOIN: "runs", FROM_BUILD: "may run", MOUNT_BUILD: "may run", LINK: "may run",
         LINK_TOOLS: "may run", CONF: "may run", MOUNT: "may run", LAST: "may run"},
    ),
}  # fmt: skip


def test_what_is_known_before(project: Project) -> None:
    """Where it can be known, it is known: a plan that says `may run` of all is no plan."""
    project.build()
    found, expected = {}, {}
    for name, (change, expected[name]) in CERTAIN.items():
        options = change(project)
        options = dict(options) if isinstance(options, dict) else {}
        changed = [options.pop("changed")] if "changed" in options else []
        found[name] = project.states(*changed, **options)
        (project.folder / "Dockerfile").write_text(DOCKERFILE)
    assert found == expected


def test_a_stage_that_may_come_out_the_same(project: Project) -> None:
    """What decides is named, step by step; the causes are those of `why`; and how long it took."""
    project.build()
    made = project.plan(build_args={"VERSION": "2"})
    found = {one.step.line: one for one in made.to_run}
    assert {line: [s.line for s in one.unless] for line, one in found.items()} == {
        JOIN: [], FROM_BUILD: [JOIN], MOUNT_BUILD: [FROM_BUILD, JOIN], LINK: [JOIN],
        LINK_TOOLS: [MOUNT_BUILD], CONF: [LINK, LINK_TOOLS], MOUNT: [CONF],
        LAST: [MOUNT, MOUNT_BUILD],
    }  # fmt: skip
    (told,) = [told for told in made.story.told if told.step.line == JOIN]
    assert [cause.text for cause in told.causes] == ["VERSION '1' -> '2'"]
    assert 0 < made.chain_seconds <= made.seconds
    assert all(one.seconds is not None for one in made.steps)


def test_what_comes_from_the_web(project: Project, cli: Cli) -> None:
    """It is not asked for: what was got last is expected, and a checksum makes that certain."""
    with serving() as web:
        url = web.put("/f", b"first")
        dockerfile = project.folder / "Dockerfile"
        for flag in ("", f"--checksum=sha256:{sha256(b'first').hexdigest()} "):
            dockerfile.write_text(f"FROM busybox\nADD {flag}{url} /got/\nRUN cat /got/f > /out\n")
            project.build()
            made = project.plan()
            assert all(one.cached for one in made.steps)
            found = {one.step.line: [s.kind for s in one.unless] for one in made.to_run}
            assert found == ({} if flag else {2: ["http"], 3: ["file"]})
    way = json.loads(cli("why", "/got/f", "--format", "json", cwd=str(project.folder)).stdout)
    assert [(origin["from"], origin["path"]) for origin in way] == [
        ("step", "/got/f"), ("web", "/f")
    ]  # fmt: skip
    assert url in cli("why", "/got/f", cwd=str(project.folder)).stdout


def test_a_missing_file_is_an_error(project: Project) -> None:
    """As in the build, with the line."""
    (project.folder / "conf/x").unlink()
    (project.folder / "conf").rmdir()
    with pytest.raises(BuildError, match="conf") as caught:
        project.plan()
    assert caught.value.span is not None
    assert caught.value.span.first == CONF


# --- Links ---

SETUP = (
    "RUN mkdir -p /a /full/sub && ln -s /a /l && mkdir -m 1777 /t && ln -s /etc/x /link"
    " && mkdir -p /own && chown 1:1 /own && echo old > /a/old && mkdir -m 700 /full/d"
)
LINKS = {
    "f /a": False,
    "f /a/g": True,
    "f /a/old": True,
    "f /l/h": False,
    "f /t/i": False,
    "f /link": False,
    "f /bin/": True,
    "d /full/d": False,
    "d /l": False,
    "--chown=1:1 f /own/": True,
    "--chown=1:1 f /a/": False,
    "[df] /full/": True,
}
"""Arguments of COPY, and whether `--link` gives the same tree."""


def test_links(builds: Builds, tmp_path: Path) -> None:
    """A link that is said to be the same is the same; and one that is said to differ does."""
    context = tmp_path / "links"
    (context / "d/sub").mkdir(parents=True)
    for name in ("f", "d/old", "d/sub/h"):
        (context / name).write_text(name)
    said, found = {}, {}
    several_ids = able("root") or able("subids")
    for words in (words for words in LINKS if several_ids or "chown" not in words):
        images = []
        for link in ("", "--link "):
            text = f"FROM busybox\n{SETUP}\nCOPY {link}{words}\n"
            (context / "Dockerfile").write_text(text)
            images.append(builds.image(str(context)).files)
            if not link:
                words_of_plan = ("build", "--plan", "--links", "--format=json", str(context))
                shown = builds.cli(*words_of_plan).stdout
                (advice,) = json.loads(shown)["links"]
                said[words] = advice["same_tree"]
        found[words] = images[0] == images[1]
    assert said == found == {words: LINKS[words] for words in said}


def test_what_a_link_would_have_spared(project: Project) -> None:
    """A copy that ran for what it stands on, and not for its own files."""
    for value in "abc":
        text = DOCKERFILE.replace("RUN mkdir", f"RUN echo {value}; mkdir")
        (project.folder / "Dockerfile").write_text(text)
        project.build()
    (project.folder / "conf/x").write_text("y\n")
    project.build()
    made = plan(project.request(), root=project.root, links=True)
    assert made.links is not None
    assert {one.step.line: one.spared for one in made.links} == {
        SOURCES: 2, FROM_BUILD: 2, CONF: 2, LAST: 3,
    }  # fmt: skip


# --- The command ---


def test_text_and_json(project: Project, cli: Cli) -> None:
    context = str(project.folder)
    assert "would run" in cli("build", "--plan", context).stdout
    cli("build", "-q", context)
    assert cli("build", "--plan", context).stdout.endswith("all 11 steps are cached\n")
    shown = cli("build", "--plan", "--if", "conf/x", "--if", "README", context).stdout
    assert "/conf/x: contents" in shown
    assert "no step reads README" in shown
    assert "3 of 11 steps would run, 8 cached: " in shown
    for words in (("--call=plan,format=json",), ("--plan", "--format", "json")):
        data = json.loads(cli("build", *words, "--if", "conf/x", context).stdout)
        found = {step["line"]: step for step in data["steps"]}
        assert {line for line, step in found.items() if step["state"] == "runs"} == {
            CONF, MOUNT, LAST
        }  # fmt: skip
        assert [cause["path"] for cause in found[CONF]["causes"]] == ["/conf/x"]
        assert found[MOUNT]["follows"] == [CONF]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--if", "x"), "--if belongs to --plan"),
        (("--links",), "--links belongs to --plan"),
        (("--plan", "--check"), "contradict"),
        (("--plan", "--if", "nowhere"), "no such file"),
        (("--plan", "--if", "/etc/passwd"), "no such file"),
        (("--call=plan,format=svg",), "cannot be drawn"),
        (("--format", "docker"), "-o type=image,oci-mediatypes=false"),
        (("--format", "json"), "it is that of --plan"),
        (("--plan", "--format", "xml"), "text or json"),
    ],
)
def test_words_that_make_no_sense(
    words: tuple[str, ...], message: str, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    assert message in cli("build", *words, str(tmp_path), code=2).stderr


def test_a_store_that_can_only_be_read(project: Project, cli: Cli) -> None:
    context = str(project.folder)
    cli("build", "-q", context)
    before = cli("build", "--plan", "--links", "--if", "conf", context).stdout
    places = [cli.root, *(os.path.join(cli.root, name) for name in os.listdir(cli.root))]
    modes = {path: os.stat(path).st_mode for path in places}
    for path, mode in modes.items():
        os.chmod(path, mode & 0o555)
    try:
        assert cli("build", "--plan", "--links", "--if", "conf", context).stdout == before
    finally:
        for path, mode in modes.items():
            os.chmod(path, mode)
    assert "would run" in before


def test_a_store_that_is_not_there_and_one_that_is_not_ours(cli: Cli, tmp_path: Path) -> None:
    """The first is empty, and stays so; of the second that is said."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    assert "the step would run" in cli("build", "--plan", str(tmp_path)).stdout
    assert not os.path.exists(cli.root)
    with closing(sqlite3.connect(tmp_path / "meta.db")) as db:
        db.execute("PRAGMA user_version = 99")
    env = {"MINIBUILD_ROOT": str(tmp_path)}
    assert "newer minibuild" in cli("build", "--plan", str(tmp_path), env=env, code=8).stderr
