"""Named tuples that cost little to define: `NamedTuple`, for all data types of this package.

Comes in: a class body with annotated fields. Goes out: a class like that of `typing.NamedTuple`,
which for type checkers it is. Defining a class is what is cheaper: typing checks each annotation
and compiles a constructor by `eval`, 85 microseconds for each class, and a cached build defines
170 of them. Here the constructors are compiled with this module, one for each number of fields,
and a class gets a copy with its own names. Instances are the same and cost the same.
"""

import sys
import types
import typing
from collections import _tuplegetter  # type: ignore[attr-defined]
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, cast

_new = tuple.__new__

# fmt: off
_TEMPLATES = {template.__code__.co_argcount - 1: template.__code__ for template in (
    lambda _cls: _new(_cls, ()),
    lambda _cls, a: _new(_cls, (a,)),
    lambda _cls, a, b: _new(_cls, (a, b)),
    lambda _cls, a, b, c: _new(_cls, (a, b, c)),
    lambda _cls, a, b, c, d: _new(_cls, (a, b, c, d)),
    lambda _cls, a, b, c, d, e: _new(_cls, (a, b, c, d, e)),
    lambda _cls, a, b, c, d, e, f: _new(_cls, (a, b, c, d, e, f)),
    lambda _cls, a, b, c, d, e, f, g: _new(_cls, (a, b, c, d, e, f, g)),
    lambda _cls, a, b, c, d, e, f, g, h: _new(_cls, (a, b, c, d, e, f, g, h)),
    lambda _cls, a, b, c, d, e, f, g, h, i: _new(_cls, (a, b, c, d, e, f, g, h, i)),
    lambda _cls, a, b, c, d, e, f, g, h, i, j: _new(_cls, (a, b, c, d, e, f, g, h, i, j)),
    lambda _cls, a, b, c, d, e, f, g, h, i, j, k: _new(_cls, (a, b, c, d, e, f, g, h, i, j, k)),
    lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m:
        _new(_cls, (a, b, c, d, e, f, g, h, i, j, k, m)),
    lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m, n:
        _new(_cls, (a, b, c, d, e, f, g, h, i, j, k, m, n)),
    lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m, n, p:
        _new(_cls, (a, b, c, d, e, f, g, h, i, j, k, m, n, p)),
    lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m, n, p, q:
        _new(_cls, (a, b, c, d, e, f, g, h, i, j, k, m, n, p, q)),
    lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m, n, p, q, r:
        _new(_cls, (a, b, c, d, e, f, g, h, i, j, k, m, n, p, q, r)),
    lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m, n, p, q, r, s:
        _new(_cls, (a, b, c, d, e, f, g, h, i, j, k, m, n, p, q, r, s)),
    lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m, n, p, q, r, s, t:
        _new(_cls, (a, b, c, d, e, f, g, h, i, j, k, m, n, p, q, r, s, t)),
    lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m, n, p, q, r, s, t, u, v:
        _new(_cls, (a, b, c, d, e, f, g, h, i, j, k, m, n, p, q, r, s, t, u, v)),
    lambda _cls, a, b, c, d, e, f, g, h, i, j, k, m, n, p, q, r, s, t, u, v, w, x,
        y, z, A, B, C, D, E, F, G, H, J, K, L, M, N, P, Q:
        _new(_cls, (a, b, c, d, e, f, g, h, i, j, k, m, n, p, q, r, s, t, u, v, w, x,
            y, z, A, B, C, D, E, F, G, H, J, K, L, M, N, P, Q)),
)}
# fmt: on
"""Constructors by their number of fields: as many as types here have. Others are made by typing."""

_GETTERS = tuple(_tuplegetter(n, f"Alias for field number {n}") for n in range(max(_TEMPLATES)))
"""A getter knows its number and nothing of its class: one will do for all."""

_TAKEN = frozenset(
    (
        "__new__ __init__ __slots__ __getnewargs__ _fields _field_defaults _make _replace _asdict"
    ).split()
)
"""What a class body must not define."""

_UNKNOWN_FIELD = ValueError if sys.version_info < (3, 13) else TypeError

_VALUES = 1
"""The format of annotations that are evaluated (annotationlib.Format.VALUE)."""


class _Record(tuple[Any, ...]):
    """What all named tuples share. Their fields and constructors are their own."""

    __slots__ = ()
    _fields = tuple[str, ...]()

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:
        made = _new(cls, iterable)
        if len(made) != len(cls._fields):
            raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
        return made

    def _replace(self, /, **changes: Any) -> Self:
        made = _new(type(self), map(changes.pop, self._fields, self))
        if changes:
            raise _UNKNOWN_FIELD(f"Got unexpected field names: {list(changes)!r}")
        return made

    __replace__ = _replace

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self) -> str:
        parts = [f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True)]
        return f"{type(self).__name__}({', '.join(parts)})"

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)


class _Definition(type):
    """Makes an ordinary class, without metaclass, of what `class X(NamedTuple): ...` says."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
        annotations = _annotations(body)
        template = _TEMPLATES.get(len(annotations))
        if template is None or len(bases) > 1:
            return _by_typing(name, bases, body)
        for taken in _TAKEN.intersection(body):
            raise AttributeError(f"Cannot overwrite NamedTuple attribute {taken}")
        defaults = {}
        for field, getter in zip(annotations, _GETTERS, strict=False):
            if field in body:
                defaults[field] = body[field]
            elif defaults:
                raise TypeError(
                    f"Non-default namedtuple field {field} cannot follow default field"
                    f"{'s' if len(defaults) > 1 else ''} {', '.join(defaults)}"
                )
            if field.startswith("_"):
                raise ValueError(f"Field names cannot start with an underscore: {field!r}")
            body[field] = getter
        fields = tuple(annotations)
        code = template.replace(
            co_varnames=("_cls", *fields), co_name="__new__", co_qualname=f"{name}.__new__"
        )
        new = types.FunctionType(code, globals(), "__new__", tuple(defaults.values()))
        new.__annotations__ = annotations
        body["__new__"] = new
        body["__slots__"] = ()
        body["_fields"] = body["__match_args__"] = fields
        body["_field_defaults"] = defaults
        body.setdefault("__doc__", f"{name}({', '.join(fields)})")
        return type.__new__(type, name, (_Record,), body)


def _annotations(body: dict[str, Any]) -> dict[str, Any]:
    """The annotations in a class body; none if they name what is defined later."""
    # From Python 3.14 on they are a function, which is called when they are asked for (PEP 649).
    evaluate = body.get("__annotate_func__") or body.get("__annotate__")
    if evaluate is None:
        found: dict[str, Any] = body.get("__annotations__", {})
        return found
    try:
        return cast(dict[str, Any], evaluate(_VALUES))
    except NameError:
        return {}


def _by_typing(name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
    """The same class from typing: for generic ones, for those without or with very many fields."""
    (theirs,) = types.resolve_bases((typing.NamedTuple,))
    bases = tuple(theirs if base is NamedTuple else base for base in bases)
    return cast(type, type(theirs)(name, bases, body))


if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    NamedTuple = type.__new__(_Definition, "NamedTuple", (), {"__doc__": __doc__})
