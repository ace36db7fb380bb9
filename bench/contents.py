"""The files of the workloads: the same bytes on every machine and in every year.

Comes in: a seed and sizes. Goes out: files. Text is made of words in random order, which deflate
shrinks to about two fifths, as it does source code; noise does not shrink at all. All times lie in
the past, so that nobody has to distrust a file for being new.
"""

import os
import random
from collections.abc import Iterator

_WORDS = 3000
_OLD_S = 1_600_000_000
_LETTERS = "eeeeetttaaaooiinnsshhrrddllucmfwygpbvk"
_MIB = 1 << 20


class Text:
    """An endless supply of text: 16 MiB of words, repeated from changing places."""

    def __init__(self, seed: int, size: int = 16 * _MIB) -> None:
        chooser = random.Random(seed)
        words = [
            "".join(chooser.choices(_LETTERS, k=chooser.randrange(2, 10))) for _ in range(_WORDS)
        ]
        lines: list[str] = []
        length = 0
        while length < size:
            line = " ".join(chooser.choices(words, k=12)) + f" {chooser.randrange(10**6)}\n"
            lines.append(line)
            length += len(line)
        self._text = "".join(lines).encode()
        self._chooser = chooser

    def take(self, size: int) -> bytes:
        """Some `size` bytes of it, fewer than there are in all."""
        start = self._chooser.randrange(len(self._text) - size)
        return self._text[start : start + size]


def write(path: str, data: bytes | str) -> None:
    """One old file, and the directories above it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
    os.utime(path, (_OLD_S, _OLD_S))


def tree(top: str, files: int, *, seed: int, sizes: tuple[int, int], per_folder: int = 50) -> None:
    """`files` files of text, of sizes between the two, `per_folder` in each directory."""
    text, chooser = Text(seed, 2 * _MIB + sizes[1]), random.Random(seed)
    for number in range(files):
        folder = os.path.join(top, f"d{number // per_folder:03d}")
        if number % per_folder == 0:
            os.makedirs(folder)
        path = os.path.join(folder, f"f{number:05d}.txt")
        with open(path, "wb") as file:
            file.write(b"%d\n" % number + text.take(chooser.randint(*sizes)))
        os.utime(path, (_OLD_S, _OLD_S))


def big_file(path: str, size: int, *, seed: int, noise: bool) -> None:
    """One big file of text or of noise."""
    with open(path, "wb") as file:
        for chunk in _noise(size, seed) if noise else _text(size, seed):
            file.write(chunk)
    os.utime(path, (_OLD_S, _OLD_S))


def _noise(size: int, seed: int) -> Iterator[bytes]:
    chooser = random.Random(seed)
    for start in range(0, size, _MIB):
        yield chooser.randbytes(min(_MIB, size - start))


def _text(size: int, seed: int) -> Iterator[bytes]:
    text = Text(seed)
    for start in range(0, size, _MIB):
        yield text.take(min(_MIB, size - start))
