"""The code of many modules in one file: a start opens that instead of 150 others.

Python keeps the compiled code of each module in a file of its own, in `__pycache__`. To find such a
file, open it and see whether it is current costs more than what most modules do then. So the code
of a program's packages is kept once more, in one file that lies beside those of Python and
follows their rules. It is for one version of the interpreter. The code of a module counts if its
source has the size and time that were noted with it. A module that the file lacks is found in the
usual way, and added at the end of the program. Where nothing can be written, there is no file.

Comes in: how the names of packages begin. Goes out: a finder for `sys.meta_path`, see "The import
system" in the reference of Python.
"""

import marshal
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from mmap import ACCESS_READ, mmap
from types import CodeType
from typing import cast

_DIGITS = 16
"""The file begins with the size of its table of contents, in so many digits."""

_PYTHON = f"{sys.version} -O{sys.flags.optimize}"
"""The interpreter that the code is for: others have another one."""

_Place = tuple[bool, int, int, int, int]
"""Whether it is a package; size and time of the source; where the code begins and ends."""


class _Loader(SourceFileLoader):
    """Has the code already. For all else, such as tracebacks, it knows the source."""

    def __init__(self, name: str, source: str, code: memoryview) -> None:
        super().__init__(name, source)
        self._code = code

    def get_code(self, fullname: str) -> CodeType | None:
        """The code, which Python executes to make the module."""
        return cast(CodeType, marshal.loads(self._code))


class CodeCache:
    """The code of modules inside all packages whose name begins with `prefix`, in the file `path`.

    The top of a package is not there: only a search of `sys.path` says which one it is.
    """

    def __init__(self, path: str, prefix: str) -> None:
        self._path = path
        self._prefix = prefix
        self._lacking: list[str] = []
        self._places, self._codes = self._read()

    def _read(self) -> tuple[dict[str, _Place], memoryview]:
        """The table of contents, and the rest; nothing if there is no file for this Python."""
        try:
            # Mapped, for a start needs a part of it: to read 2.7 MB takes 1.4 ms.
            with open(self._path, "rb") as file:
                data = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
            begin = _DIGITS + int(bytes(data[:_DIGITS]))
            version, places = marshal.loads(data[_DIGITS:begin])
        except (OSError, EOFError, TypeError, ValueError):
            version, places, begin, data = "", {}, 0, memoryview(b"")
        return (places if version == _PYTHON else {}), data[begin:]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        """What Python asks each finder in turn. `path` is that of the package around the module."""
        if path is None or not name.startswith(self._prefix):
            return None
        place = self._places.get(name)
        spec = None if place is None else self._spec(name, path[0], place)
        if spec is None:
            self._lacking.append(name)
        return spec

    def _spec(self, name: str, folder: str, place: _Place) -> ModuleSpec | None:
        """The module, if its source is what it was."""
        is_package, size, mtime_ns, begin, end = place
        stem = name.rpartition(".")[2]
        if is_package:
            folder, stem = f"{folder}/{stem}", "__init__"
        source = f"{folder}/{stem}.py"
        try:
            status = os.stat(source)
        except OSError:
            return None
        if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
            return None
        loader = _Loader(name, source, self._codes[begin:end])
        spec = ModuleSpec(name, loader, origin=source, is_package=is_package)
        spec.has_location = True
        spec.cached = f"{folder}/__pycache__/{stem}.{sys.implementation.cache_tag}.pyc"
        if is_package:
            spec.submodule_search_locations = [folder]
        return spec

    def keep(self) -> None:
        """Add what this process loaded and the file lacks. Call it at the end: whatever fails here
        fails after the work, and costs the next start some time."""
        folder = os.path.dirname(self._path)
        if not self._lacking or sys.dont_write_bytecode or not os.access(folder, os.W_OK):
            return
        temporary = f"{self._path}.{os.getpid()}"
        with suppress(Exception):
            if new := dict(self._new()):
                with open(temporary, "xb") as file:
                    file.writelines(self._with(new))
                os.replace(temporary, self._path)
        with suppress(OSError):
            os.unlink(temporary)

    def _new(self) -> Iterator[tuple[str, tuple[bool, int, int, bytes]]]:
        for name in self._lacking:
            spec = getattr(sys.modules.get(name), "__spec__", None)
            if spec is None or not isinstance(spec.loader, SourceFileLoader):
                continue
            # In this order: code that is newer than what is noted of its source will not count.
            status = os.stat(spec.loader.path)
            code = marshal.dumps(spec.loader.get_code(name))
            is_package = spec.submodule_search_locations is not None
            yield name, (is_package, status.st_size, status.st_mtime_ns, code)

    def _with(self, new: dict[str, tuple[bool, int, int, bytes]]) -> list[bytes]:
        """The file with new modules in it. Others are checked when they are loaded."""
        old = {
            name: (*place[:3], bytes(self._codes[place[3] : place[4]]))
            for name, place in self._places.items()
        }
        places: dict[str, _Place] = {}
        at = 0
        codes = []
        for name, (is_package, size, mtime_ns, code) in (old | new).items():
            places[name] = is_package, size, mtime_ns, at, at + len(code)
            at += len(code)
            codes.append(code)
        head = marshal.dumps((_PYTHON, places))
        return [b"%*d" % (_DIGITS, len(head)), head, *codes]
