"""Documents gone wrong: JSON whose members are replaced, lost, doubled, or cut in the middle.

Comes in: a good document and a source of chance. Goes out: bytes. Read next: `documents`.
"""

import copy
import json
import random
from typing import Any

DIGEST = "sha256:" + "0" * 64

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 5, 1.5, 2**31, 2**63, 2**64, -(2**63), 10**40, 1e300, 1e-300,
    "", "a", "A=b", "=b", "A", "\0", "A=b\0c", "\ud800", "\udc80", "\ufeff", "\x1b[2J", "../../x",
    "/", "//", "a/../b", ".", "sha256:", DIGEST, "sha256:../../x", "sha512:" + "0" * 128, "md5:0",
    "linux", "windows", "unknown", "amd64", "0001-01-01T00:00:00Z", "99999-01-01T00:00:00Z",
    "yesterday", "99999999999999999999", "x" * 5000,
    "ONBUILD RUN x", "FROM x", "COPY --from=.. a b",
    "RUN <<E\n", "ENV", "WORKDIR ${x", [], [None], [[]], [[["a"]]], [{}], ["a", 1], [1, None, {}],
    {}, {"a": 1}, {"": ""}, {"a": None}, {"a": {"b": []}}, {"\ud800": "\udc00"},
)  # fmt: skip
_BYTES = (b"\xff", b"\xed\xa0\x80", b"\0", b"NaN", b"1e999", b"9" * 400, b"[" * 2000, b'"', b"\\u")


def mutated(document: Any, chance: random.Random) -> bytes:
    """A document with up to four things wrong with it."""
    value = json.loads(json.dumps(document))
    for _ in range(chance.randint(1, 4)):
        value = _changed(value, chance)
    data = json.dumps(value).encode()
    while chance.random() < 0.1:
        data = _damaged(data, chance)
    return data


def _changed(value: Any, chance: random.Random) -> Any:
    """One change, somewhere in the tree."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.05:
        return copy.deepcopy(chance.choice(STRANGE))
    key: Any = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
    inner = value[key]
    if isinstance(inner, dict | list) and inner and chance.random() < 0.7:
        value[key] = _changed(inner, chance)
        return value
    match chance.randrange(8):
        case 0:
            del value[key]
        case 1 if isinstance(value, dict):
            value[chance.choice(["", "a", "\ud800", str(key).lower(), f"{key} "])] = inner
        case 1 if isinstance(value, list):
            value.insert(key, copy.deepcopy(inner))
        case 2:
            value[key] = [inner] * chance.choice([0, 1, 2, 30])
        case 3:
            value[key] = {str(inner)[:50]: inner}
        case 4:
            for _ in range(chance.choice([1, 5, 60, 150])):
                inner = [inner] if chance.random() < 0.5 else {"a": inner}
            value[key] = inner
        case _:
            value[key] = copy.deepcopy(chance.choice(STRANGE))
    return value


def _damaged(data: bytes, chance: random.Random) -> bytes:
    """Bytes that are cut, doubled or replaced."""
    start, end = sorted(chance.randint(0, len(data)) for _ in range(2))
    match chance.randrange(4):
        case 0:
            return data[:start]
        case 1:
            return data[:start] + data[end:]
        case 2:
            return data[:end] + data[start:]
    return data[:start] + chance.choice(_BYTES) + data[start + chance.randint(0, 3) :]
