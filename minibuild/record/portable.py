"""A record for another machine: with what its keys were made of, and without secrets.

Comes in: a build, and what keys were made of. Goes out: plain data, which `records.read_file`
reads again. It is what `why --against FILE` compares with where the store is another.
"""

from collections.abc import Mapping
from typing import Any

from minibuild.record.records import Build
from minibuild.record.secrecy import Mask, secret_values
from minibuild.record.story import GetParts


def portable(build: Build, parts: GetParts) -> Mapping[str, Any]:
    """The record with the parts of its keys."""
    known = {
        step.key: found
        for step in build.steps
        if step.key is not None and step.is_step and (found := parts(step.key)) is not None
    }
    pairs = [pair for found in known.values() for pair in found["op"].get("env", ())]
    mask = Mask(secret_values(pairs))
    return {**build.data, "id": build.id, "key_parts": {k: mask.data(v) for k, v in known.items()}}
