"""What an exhibit is: a build, one switch, and what is to be seen. Data only.

Read next: `exhibits`; `build` and `exhibit_builder`, which perform them.
"""

from collections.abc import Callable, Mapping

from minibuild.graph.state import State
from minibuild.snapshot.api import Defect
from minibuild.startup.tuples import NamedTuple

Recipe = str | Callable[[], State]
"""What is built: the text of a Dockerfile, or a function that makes a graph. Its last step is the
one that needs the merge."""


def linked(
    run: str,
    last: str,
    first: str = "COPY --link file1 /file1",
    second: str = "COPY --link file3 /file3",
) -> str:
    """The usual Dockerfile: the `last` RUN needs the merge of what `run` did and of COPY --link."""
    lines = ("FROM busybox", first, f"RUN {run}", second, last and f"RUN {last}")
    return "".join(f"{line}\n" for line in lines if line)


class Variation(NamedTuple):
    """The recipe with one thing changed.

    `breaks` are the conditions that no longer hold, counted from 1. If there are none, the defect
    shows here as well. `needs_devices`: the kernel must let a step make device nodes.
    """

    name: str
    recipe: Recipe
    breaks: tuple[int, ...] = ()
    needs_devices: bool = False


class Quoted(NamedTuple):
    """Lines of the source: so many of `function`, from the first one that has `words`."""

    function: Callable[..., object]
    words: str
    lines: int


class Exhibit(NamedTuple):
    """A defect to be seen, which has the name of its switch (see `minibuild.snapshot.api`).

    `condition` is where the switch is, and the fix; `buildkit` says which code of BuildKit does the
    same. `files` are those of the build context. `watched` is a part of the instruction whose
    upperdir is shown, `paths` what to look at there. `error` is how the last step fails, a regular
    expression. `shared_inode`: it can be seen only if `paths` are whiteouts with one inode.
    """

    name: Defect
    title: str
    story: str
    condition: Quoted
    buildkit: str
    recipe: Recipe
    files: Mapping[str, str]
    watched: str
    paths: tuple[str, ...]
    error: str
    conditions: tuple[str, ...]
    variations: tuple[Variation, ...]
    shared_inode: bool = False


def text_of(recipe: Recipe) -> str:
    """The recipe as people read it: the Dockerfile, or the source of the function."""
    if isinstance(recipe, str):
        return recipe
    import inspect
    import textwrap

    return textwrap.dedent(inspect.getsource(recipe))


def quote(quoted: Quoted) -> tuple[str, int, str]:
    """The file that has the lines, from this package on, the number of the first, and the lines."""
    import inspect
    import textwrap

    source, first = inspect.getsourcelines(quoted.function)
    start = next(n for n, line in enumerate(source) if quoted.words in line)
    file = (inspect.getsourcefile(quoted.function) or "").rpartition("/minibuild/")[2]
    lines = textwrap.dedent("".join(source[start : start + quoted.lines]))
    return f"minibuild/{file}", first + start, lines
