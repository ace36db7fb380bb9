"""Lesson 6: the algebra. Marked by the model of `lab try`."""

from collections.abc import Iterator

from minibuild.course.exercise import Exercise, NotReady, Requirement, Submission
from minibuild.errors import UsageError
from minibuild.lab.model import ModelTree, plain
from minibuild.lab.trial import by_model, parse

_TASK = """\
Find two trees for which merge(a, b) and merge(b, a) differ in one path only, while each
of the trees has two files or more. Write them into the file `trees`, in the words of
`lab try`, a line for each."""


def _check(answer: Submission) -> Iterator[Requirement]:
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


EXERCISE = Exercise(
    6,
    "The algebra of layers",
    _TASK,
    {"trees": "a=x y/1\nb=z y/2\n"},
    _check,
)
