"""Builds of graphs that are made in Python and stand on nothing, so that no step has to be run.

Comes in: states. Goes out: files, layers, rows of the store. See docs/state.md.
"""

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minibuild import BuildResult, Output
from minibuild.digest import Digest
from minibuild.graph.state import State, scratch
from minibuild.lab.model import ModelTree
from minibuild.lab.trees import read_tree


class Shop:
    """A store, and builds on it."""

    def __init__(self, folder: Path, name: str = "store") -> None:
        self.folder = folder
        self.root = str(folder / name)
        self.context = str(folder / "context")
        os.makedirs(self.context, exist_ok=True)
        self.count = 0

    def build(
        self, state: State, output: Output | Iterable[Output] | None = None, **fields: Any
    ) -> BuildResult:
        """Build a state; `local` in it is the folder `context`."""
        fields.setdefault("contexts", {"context": self.context})
        result: BuildResult = state.build(output, root=self.root, pull="never", **fields)
        return result

    def layers(self, state: State, **fields: Any) -> list[Digest]:
        """The layers of an image."""
        return [layer.digest for layer in self.build(state, **fields).images[0].layers]

    def files(self, state: State, **fields: Any) -> ModelTree:
        """The files of a state."""
        self.count += 1
        out = f"{self.folder}/out-{os.path.basename(self.root)}-{self.count}"
        self.build(state, Output("local", out), **fields)
        return read_tree(out)

    def layout(self, state: State, name: str, **attributes: str) -> str:
        """A state as an image in an OCI layout; its URL."""
        path = f"{self.folder}/{name}"
        attributes = {"tar": "false", "name": "base:1", **attributes}
        self.build(state, Output("oci", path, attributes))
        return f"oci-layout://{path}:1"

    def rows(self, query: str) -> list[Any]:
        """What a query of the database finds."""
        with sqlite3.connect(f"{self.root}/meta.db") as db:
            return db.execute(query).fetchall()


def linked(dest: str, text: str = "linked", **flags: str) -> State:
    """What `COPY --link` of a file makes, to be merged."""
    return scratch().copy(scratch().mkfile("/f", text.encode()), "/f", dest, **flags)
