"""Named tuples of our own beside those of typing: the same to whoever uses them."""

import copy
import inspect
import pickle
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

import pytest

from minibuild.startup import tuples

T = TypeVar("T")
CHECKOUT = Path(__file__).parent.parent


def shapes(NamedTuple: Any) -> SimpleNamespace:
    """The same classes, made of either."""

    class Empty(NamedTuple):  # type: ignore[misc]
        """Nothing in it."""

    class One(NamedTuple):  # type: ignore[misc]
        """A single one."""

        only: str

    class Point(NamedTuple):  # type: ignore[misc]
        """A place."""

        x: int
        y: "int" = 2
        """How high."""
        label: str | None = None

        @property
        def total(self) -> int:
            return int(self.x + self.y)

        @classmethod
        def origin(cls) -> Any:
            return cls(0, 0)

        @staticmethod
        def help() -> str:
            return "none"

        def moved(self, by: int) -> Any:
            return self._replace(x=self.x + by)

    class Named(NamedTuple):  # type: ignore[misc]
        """By hand."""

        name: str

        def __str__(self) -> str:
            return f"<{self.name}>"

    class Held(NamedTuple, Generic[T]):  # type: ignore[misc]
        value: T
        rest: tuple[T, ...] = ()

    class Many(NamedTuple):  # type: ignore[misc]
        __annotations__ = {f"field{n}": int for n in range(40)}

    class Child(Point):
        """With attributes of its own."""

        def moved(self, by: int) -> Any:
            return super().moved(-by)

    return SimpleNamespace(**{k: v for k, v in locals().items() if k != "NamedTuple"})


OURS, THEIRS = shapes(tuples.NamedTuple), shapes(typing.NamedTuple)


class Kept(tuples.NamedTuple):
    """At module level, where pickle finds it."""

    a: int
    b: tuple[str, ...] = ()


def outcome(does: Callable[[], Any]) -> object:
    """What comes of it: a value, or the error and what it says."""
    try:
        return does()
    except Exception as error:
        return type(error), str(error)


QUESTIONS: list[Callable[[Any], Any]] = [
    lambda s: [k._fields for k in vars(s).values()],
    lambda s: [k._field_defaults for k in vars(s).values()],
    lambda s: [k.__match_args__ for k in vars(s).values()],
    lambda s: [k.__doc__ for k in vars(s).values()],
    lambda s: [k.__name__ for k in vars(s).values()],
    lambda s: [k.__module__ for k in vars(s).values()],
    lambda s: [type(k) for k in vars(s).values()],
    lambda s: [typing.get_type_hints(k) for k in (s.Empty, s.One, s.Point, s.Held, s.Many)],
    lambda s: [list(inspect.signature(k).parameters) for k in vars(s).values()],
    lambda s: [issubclass(k, tuple) for k in vars(s).values()],
    lambda s: (s.Point.x.__doc__, s.Point.label.__doc__),
    lambda s: [s.Empty(), s.One("a"), s.Point(1), s.Held(1), s.Child(3), s.Named("a")],
    lambda s: [repr(v) for v in (s.Empty(), s.One("a"), s.Point(1), s.Held("b"), s.Child(3))],
    lambda s: [str(s.Named("a")), f"{s.Named('a')}", repr(s.Named("a")), repr(s.One("%s"))],
    lambda s: s.Many(*range(40)).field39,
    lambda s: s.Many(**{f"field{n}": n for n in range(40)}),
    lambda s: s.Many(1),
    lambda s: (s.Point(x=4, label="l"), s.Point(1, label="m").label, s.Point(5).total),
    lambda s: (s.Point.origin(), s.Point.help(), s.Point(1).moved(4), s.Child(1).moved(4)),
    lambda s: s.Point(),
    lambda s: s.Point(1, 2, None, 4),
    lambda s: s.Point(1, colour=2),
    lambda s: s.Point(1, x=2),
    lambda s: s.Empty(1),
    lambda s: s.One(),
    lambda s: s.Point._make([7, 8, "n"]),
    lambda s: s.Point._make([7, 8]),
    lambda s: s.Empty._make([]),
    lambda s: s.Point(1)._replace(y=5, label="r"),
    lambda s: type(s.Child(1)._replace(y=5)).__name__,
    lambda s: outcome(lambda: s.Point(1)._replace(z=5)),
    lambda s: s.Point(1)._asdict(),
    lambda s: s.Point(1).__getnewargs__(),
    lambda s: type(s.Point(1).__getnewargs__()),
    lambda s: (s.Point(1) == (1, 2, None), s.Point(1) != s.Point(2), s.Point(1) < s.Point(2)),
    lambda s: (s.Point(1) == s.Child(1), hash(s.Point(1)) == hash((1, 2, None))),
    lambda s: {s.Point(1): "found"}[(1, 2, None)],
    lambda s: (len(s.Point(1)), list(s.Point(1)), s.Point(1)[0], s.Point(1)[-1], s.Point(1)[1:]),
    lambda s: (copy.copy(s.Point(1)), type(copy.copy(s.Point(1))).__name__),
    lambda s: copy.deepcopy(s.Held([1])),
    lambda s: setattr(s.Point(1), "x", 2),
    lambda s: setattr(s.Point(1), "colour", 2),
    lambda s: hasattr(s.Child(1), "__dict__"),
    lambda s: (s.Held[int](3), s.Held[int].__origin__ is s.Held, s.Held.__parameters__),
    lambda s: s.Point.__new__.__qualname__.rsplit(".", 1)[1],
    lambda s: s.Point.__new__.__defaults__,
]


@pytest.mark.parametrize("number", range(len(QUESTIONS)))
def test_like_that_of_typing(number: int) -> None:
    """Values, representations and errors, down to the words."""
    ask = QUESTIONS[number]
    assert outcome(lambda: ask(OURS)) == outcome(lambda: ask(THEIRS))


def wrong(NamedTuple: Any) -> Iterator[Callable[[], Any]]:
    """Class bodies that are refused."""

    def body(annotations: dict[str, Any], **others: Any) -> Callable[[], Any]:
        members = {"__annotations__": annotations, "__module__": __name__, **others}
        return lambda: type(NamedTuple)("X", (NamedTuple,), members)

    yield body({"a": int, "b": int}, a=1)
    yield body({"a": int, "b": int, "c": int}, a=1, b=2)
    yield body({"_a": int})
    yield body({"a": int}, __new__=None)
    yield body({"a": int}, _replace=None)
    yield body({"a": int}, __init__=None)


@pytest.mark.parametrize("number", range(6))
def test_refusals(number: int) -> None:
    """A class that typing refuses is refused, with the same kind of error and the same words."""
    ours, theirs = list(wrong(tuples.NamedTuple)), list(wrong(typing._NamedTuple))  # type: ignore[attr-defined]
    refused = outcome(ours[number])
    assert refused == outcome(theirs[number])
    assert isinstance(refused, tuple)


def test_patterns() -> None:
    """By position and by name."""

    def seen(value: object) -> object:
        match value:
            case OURS.One("a"):
                return "a"
            case OURS.Point(x, y=9):
                return x
            case OURS.Point(x, y, label):
                return x, y, label
        return None

    point = OURS.Point
    got = [seen(OURS.One("a")), seen(OURS.One("b")), seen(point(3, 9)), seen(point(3)), seen((3,))]
    assert got == ["a", None, 3, (3, 2, None), None]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol: int) -> None:
    """By every protocol; steps send values to other processes."""
    again = pickle.loads(pickle.dumps(Kept(1, ("b",)), protocol))
    assert type(again) is Kept
    assert again == Kept(1, ("b",))


def test_classes_do_not_share() -> None:
    """Getters and constructors are made of shared parts; what a class says is its own."""
    assert OURS.Point.__new__ is not OURS.Named.__new__
    assert OURS.Point(x=1).x == 1
    assert OURS.One(only="o").only == "o"
    assert not hasattr(OURS.One("o"), "x")


COUNT = """\
import sys
import functools, dockerfile_parse  # they define, or load, named tuples of another kind
seen = []
sys.addaudithook(lambda event, args: event == "compile" and seen.append(args[1]))
import minibuild.builder, minibuild.cli.build, minibuild_dockerfile.convert
import minibuild.executor.api, minibuild.fileop.layer, minibuild.layer.pack
print([name for name in seen if not str(name).endswith(".py")])
"""


def test_nothing_is_compiled_when_types_are_defined() -> None:
    """The sources of modules may be compiled, if nobody did before; nothing else is."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, cwd=CHECKOUT
    )
    assert done.stdout == "[]\n", done.stderr
