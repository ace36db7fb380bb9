"""What is to leave this machine: records with what their keys were made of, and without secrets.

Comes in: builds, and what keys were made of. Goes out: plain data, which `records.read_file` reads
again, for `why --against FILE` where the store is another; or what a page may show.
"""

from collections.abc import Mapping
from typing import Any

from minibuild.record.causes import Parts
from minibuild.record.records import BuildRecord
from minibuild.record.secrecy import Mask, secret_values
from minibuild.record.story import GetParts


def portable(build: BuildRecord, parts: GetParts) -> Mapping[str, Any]:
    """The record with the parts of its keys."""
    known, mask = _known(parts, build), mask_of_keys(parts, build)
    return {**build.data, "id": build.id, "key_parts": {k: mask.data(v) for k, v in known.items()}}


def mask_of_keys(parts: GetParts, *builds: BuildRecord) -> Mask:
    """What replaces the values of secret variables that keys were made of."""
    found = (known for build in builds for known in _known(parts, build).values())
    return Mask(secret_values([pair for known in found for pair in known["op"].get("env", ())]))


def masked(parts: GetParts, mask: Mask) -> GetParts:
    """What keys were made of, without secrets."""

    def known(key: str) -> Parts | None:
        found = parts(key)
        made: Parts | None = None if found is None else mask.data(found)
        return made

    return known


def _known(parts: GetParts, build: BuildRecord) -> Mapping[str, Parts]:
    return {
        step.key: found
        for step in build.steps
        if step.key is not None and step.is_step and (found := parts(step.key)) is not None
    }
