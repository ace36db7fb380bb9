"""The eight exercises, in the order of the lessons. A new one is its files and its check, and a
name in the list at the end.
"""

import hashlib
from collections.abc import Iterator, Mapping

from minibuild.cache.results import DiffKey
from minibuild.course.exercise import Exercise, NotReady, Requirement, Submission
from minibuild.errors import HostError, UsageError
from minibuild.graph.literals import parse_uint
from minibuild.image.listing import tree_of
from minibuild.lab.exhibits import EXHIBITS
from minibuild.lab.model import ModelTree, plain
from minibuild.lab.trial import by_model, parse
from minibuild.record.records import BuildRecords, longest_chain
from minibuild.record.story import newest_before
from minibuild.snapshot.upperdir import upper_entries
from minibuild.startup.regex import regex

# --- Lesson 1: an image is a list of diffs. Marked by its layers.


def _check_diffs(answer: Submission) -> Iterator[Requirement]:
    layers = answer.layers(answer.built())
    yield Requirement(len(layers) == 3, f"the image has exactly 3 layers (it has {len(layers)})")
    first = tree_of(layers[:1])
    both = tree_of(layers[:2])
    files = [path for path, item in first.items() if item.entry.kind != "dir"]
    found = [path for path in files if path not in both or both[path].layer == 1]
    said = f"/{found[0]}" if found else "none"
    yield Requirement(bool(found), f"layer 1 hides a file of layer 0 (it hides {said})")


DIFFS = Exercise(
    1,
    "An image is a list of diffs",
    """\
Write a Dockerfile whose image has exactly 3 layers, of which the second (layer 1) hides
a file of the first (layer 0). FROM scratch has no layer, FROM busybox has one.""",
    {
        "Dockerfile": "FROM scratch\nCOPY old.txt /note.txt\n",
        "old.txt": "the old text\n",
        "new.txt": "the new text\n",
    },
    _check_diffs,
)


# --- Lesson 2: a deletion is a thing. Marked by the upperdir of the last step.


def _check_deletions(answer: Submission) -> Iterator[Requirement]:
    build, snapshots = answer.built(), answer.worker.snapshots
    last = next((step for step in reversed(build.steps) if step.kind == "exec"), None)
    if last is None or not last.result:
        raise NotReady("there is no RUN in the Dockerfile")
    if snapshots.whiteouts == "plain":
        raise HostError("this cannot be seen here: these snapshots are not overlays")
    row = answer.worker.diffs.get(DiffKey(last.result[-1]))
    if row.upper is None:
        raise NotReady("the files of the RUN are no longer in the store: build with --no-cache")
    found = {e.path: e for e in upper_entries(snapshots.layer_dir(row.upper), snapshots.whiteouts)}
    directory = found.get("d")
    yield Requirement(
        directory is not None and directory.type == "directory",
        f"line {last.line} leaves /d as a directory",
    )
    yield Requirement(directory is not None and directory.opaque, "it is opaque")
    inside = [path for path, entry in found.items()
              if path.startswith("d/") and not entry.is_whiteout]  # fmt: skip
    yield Requirement(bool(inside), "there is a file in the new /d")


DELETIONS = Exercise(
    2,
    "A deletion is a thing",
    """\
Write a Dockerfile whose last RUN leaves a directory /d that is opaque: it hides all that
/d had before, without a whiteout for each file. There is to be a file in the /d of
before, and another in the new one.""",
    {"Dockerfile": "FROM busybox\nRUN mkdir /d && echo old > /d/old\nRUN rm /d/old\n"},
    _check_deletions,
)


# --- Lesson 3: a key names contents. Marked by the records of the last two builds.

_DOCKERFILE = """\
FROM busybox AS base
COPY tools/ /tools/
RUN cat /tools/* > /tools.txt

FROM base AS site
ARG THEME=light
COPY pages/ /pages/
RUN cat /pages/* > /site.txt && echo "$THEME"

FROM base
COPY --from=site /site.txt /srv/site.txt
RUN wc -l < /srv/site.txt > /srv/lines
"""
_WANTED = [7, 8]


def _check_keys(answer: Submission) -> Iterator[Requirement]:
    build = answer.built()
    yield Requirement(build.text == _DOCKERFILE, "the Dockerfile is as it was given")
    before = newest_before(BuildRecords(answer.worker.store.root).of_place(build.place), build)
    if before is None:
        raise NotReady("that was the first build: change something, and build again")
    ran = sorted(step.line for step in build.ran)
    said = ", ".join(map(str, ran)) or "none"
    yield Requirement(ran == _WANTED, f"the lines that ran are 7 and 8 (they were: {said})")


KEYS = Exercise(
    3,
    "A key names contents",
    """\
Build, then change one thing that is not the Dockerfile, and build again: exactly the
steps in lines 7 and 8 are to run, and all others are to come from the cache.""",
    {
        "Dockerfile": _DOCKERFILE,
        "tools/hammer": "a hammer\n",
        "pages/one": "page one\n",
        "pages/two": "page two\n",
    },
    _check_keys,
)


# --- Lesson 4: the graph, not the file. Marked by the longest chain of RUNs, and by the files.

_FILES = {"a": "a\n", "b": "b\n", "c": "c\n", "d": "d\n", "all": "a\nb\nc\nd\n"}
_LONGEST = 2


def _check_graphs(answer: Submission) -> Iterator[Requirement]:
    build = answer.built()
    chain = longest_chain(build, lambda step: step.kind == "exec")
    said = ", ".join(str(step.line) for step in chain)
    yield Requirement(
        len(chain) <= _LONGEST, f"no more than 2 RUNs stand on each other (the most: lines {said})"
    )
    slow = [step for step in build.steps if step.kind == "exec" and "sleep" in step.text]
    single = [step for step in slow if step.text.count("sleep") == 1]
    yield Requirement(len(single) >= 4, "each slow command has a RUN of its own")
    tree = tree_of(answer.layers(build), hashed=True)
    for name, text in _FILES.items():
        item = tree.get(f"out/{name}")
        same = item is not None and item.sha == hashlib.sha256(text.encode()).hexdigest()
        yield Requirement(same, f"/out/{name} has the same contents")


GRAPHS = Exercise(
    4,
    "The graph, not the file",
    """\
The four slow RUNs wait for each other. Write the Dockerfile so that they do not: of its
RUNs no more than 2 may stand on each other, each slow one stays a RUN of its own, and
/out has the same files.""",
    {
        "Dockerfile": """\
FROM busybox
WORKDIR /out
RUN sleep 1; echo a > a
RUN sleep 1; echo b > b
RUN sleep 1; echo c > c
RUN sleep 1; echo d > d
RUN cat a b c d > all
"""
    },
    _check_graphs,
)


# --- Lesson 5: COPY --link and merge. Marked by the trees of two targets.

_STICKY, _ALL = 0o1000, 0o1777


def _check_links(answer: Submission) -> Iterator[Requirement]:
    for target in ("lost", "kept"):
        build = answer.built(target)
        linked = any(step.kind == "merge" for step in build.steps)
        yield Requirement(linked, f"{target}: there is a COPY --link, and a merge of it")
        tree = tree_of(answer.layers(build))
        inside = any(p.startswith("tmp/") and i.entry.kind == "file" for p, i in tree.items())
        yield Requirement(inside, f"{target}: there is a file in /tmp")
        mode = tree["tmp"].entry.mode & 0o7777 if "tmp" in tree else 0
        if target == "lost":
            yield Requirement(
                not mode & _STICKY, f"lost: /tmp has no sticky bit (it has {mode:04o})"
            )
        else:
            yield Requirement(mode == _ALL, f"kept: /tmp has the mode 1777 (it has {mode:04o})")


LINKS = Exercise(
    5,
    "COPY --link and merge",
    """\
In busybox everyone may write to /tmp, and the sticky bit keeps others from removing what
is there: mode 1777. Write two stages, both with a COPY --link that puts a file into /tmp.
In the stage `lost` the sticky bit of /tmp is gone, in the stage `kept` it is there. Build
both, with --target.""",
    {
        "Dockerfile": "FROM busybox AS lost\n\nFROM busybox AS kept\n",
        "note": "a note\n",
        "root/tmp/note": "a note\n",
    },
    _check_links,
)


# --- Lesson 6: the algebra. Marked by the model of `lab try`.


def _check_algebra(answer: Submission) -> Iterator[Requirement]:
    lines = [line for line in answer.text("trees").splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(("a=", "b="))]
    if len(named) != len(lines) or len(named) != 2:
        raise NotReady("the file `trees` is to have a line a=... and a line b=...")
    try:
        one, other = (plain(_tree(words, named)) for words in ("merge(a, b)", "merge(b, a)"))
        sizes = [_files(_tree(name, named)) for name in ("a", "b")]
    except UsageError as error:
        raise NotReady(error.message) from error
    yield Requirement(min(sizes) >= 2, f"each tree has 2 files or more (they have {sizes})")
    paths = sorted(p for p in one.keys() | other.keys() if one.get(p) != other.get(p))
    said = " ".join(paths) or "none"
    yield Requirement(len(paths) == 1, f"the merges differ in one path (they differ in: {said})")


def _tree(expression: str, trees: list[str]) -> ModelTree:
    return by_model(*parse(expression, trees)).model


def _files(tree: ModelTree) -> int:
    return sum(entry.type == "file" for entry in tree.values())


ALGEBRA = Exercise(
    6,
    "The algebra of layers",
    """\
Find two trees for which merge(a, b) and merge(b, a) differ in one path only, while each
of the trees has two files or more. Write them into the file `trees`, in the words of
`lab try`, a line for each.""",
    {"trees": "a=x y/1\nb=z y/2\n"},
    _check_algebra,
)


# --- Lesson 7: pull request 4516. Marked by building both ways.

_DEFECT = EXHIBITS["whiteout-hardlink"].name
_FAILURE = regex(r"failed to hardlink.*no such file")
_OF_THE_STORY = ("file1", "file2", "file3")


def _check_pull_request(answer: Submission) -> Iterator[Requirement]:
    texts = [answer.text(name) for name in ("breaks.Dockerfile", "passes.Dockerfile")]
    own = not any(name in text for text in texts for name in _OF_THE_STORY)
    yield Requirement(own, "the files have names of their own")
    yield Requirement(texts[0] != texts[1], "the two Dockerfiles are not the same")
    with_defect, without, other = answer.ran
    if answer.worker.snapshots.whiteouts == "plain":
        raise HostError("this cannot be seen here: these snapshots are not overlays")
    fails = with_defect.code != 0 and _FAILURE.search(with_defect.output) is not None
    yield Requirement(fails, "breaks.Dockerfile fails with the defect, as it tries to hardlink")
    yield Requirement(without.code == 0, "breaks.Dockerfile passes without the defect")
    yield Requirement(other.code == 0, "passes.Dockerfile passes with the defect")


_BUILD = ("build", "--no-record", "--progress=plain", "-o", "type=cacheonly", "-f")
PULL_REQUEST = Exercise(
    7,
    "Pull request 4516",
    f"""\
Write breaks.Dockerfile: it fails with the defect of the pull request, and passes without;
with files of your own, not file1, file2 or file3. Then write passes.Dockerfile: the same
but for one change, and it passes with the defect as well. Try them with
minibuild build --lab={_DEFECT} -f breaks.Dockerfile .""",
    {
        "breaks.Dockerfile": "FROM busybox\n",
        "passes.Dockerfile": "FROM busybox\n",
        "one": "one\n",
        "two": "two\n",
    },
    _check_pull_request,
    (
        (*_BUILD, "breaks.Dockerfile", f"--lab={_DEFECT}", "."),
        (*_BUILD, "breaks.Dockerfile", "."),
        (*_BUILD, "passes.Dockerfile", f"--lab={_DEFECT}", "."),
    ),
)


# --- Lesson 8: the same bytes again. Marked by `verify`.

_MADE = ("app/built", "app/names", "app/id")


def _check_again(answer: Submission) -> Iterator[Requirement]:
    tree = tree_of(answer.layers(answer.built()))
    for path in _MADE:
        item = tree.get(path)
        there = item is not None and item.entry.size > 0
        yield Requirement(there, f"/{path} is there, and not empty")
    (verified,) = answer.ran
    yield Requirement(verified.code == 0, "`minibuild verify` finds the same image twice")


AGAIN = Exercise(
    8,
    "The same bytes again",
    """\
Two builds of this Dockerfile do not give the same image. Mend it, so that
`minibuild verify` ends with 0, and the image still has /app/built, /app/names and
/app/id, each with something in it.""",
    {
        "Dockerfile": """\
FROM busybox
WORKDIR /app
COPY names.txt .
RUN date +%s > built
RUN ls -l names.txt > names
RUN cat /proc/sys/kernel/random/uuid > id
""",
        "names.txt": "ada\ngrace\n",
    },
    _check_again,
    (("verify", "."),),
)


EXERCISES: Mapping[int, Exercise] = {
    one.number: one for one in (DIFFS, DELETIONS, KEYS, GRAPHS, LINKS, ALGEBRA, PULL_REQUEST, AGAIN)
}


def exercise(number: str) -> Exercise:
    """The exercise of a lesson. Raises `UsageError`."""
    found = EXERCISES.get(parse_uint(number))
    if found is None:
        raise UsageError(f"there is no lesson {number}", hint=f"they are 1 to {len(EXERCISES)}")
    return found
