"""What a store knows that explains a build: what keys were made of, and where steps ran; and what
of it may leave this machine.

Comes in: a cache, records, a build. Goes out: functions and tables for `story` and `blame`; plain
data without secrets, which `records.read_file` reads again, for `why --against FILE` where the
store is another.
"""

from collections.abc import Mapping
from typing import Any

from minibuild.cache.records import Cache
from minibuild.digest import Digest
from minibuild.record.causes import KeyParts
from minibuild.record.records import BuildRecord, BuildRecords, RecordedStep
from minibuild.record.secrecy import Mask, secret_values
from minibuild.record.story import GetParts


def known_parts(cache: Cache, *builds: BuildRecord) -> GetParts:
    """What keys were made of: what came with a record, or else what the store has."""

    def known(key: str) -> KeyParts | None:
        for build in builds:
            if key in build.parts:
                brought: KeyParts = build.parts[key]
                return brought
        found = cache.parts(Digest(key))
        return found if found is None or "op" in found else None

    return known


def where_ran(
    records: BuildRecords, build: BuildRecord
) -> Mapping[str, tuple[BuildRecord, RecordedStep]]:
    """The newest build, up to this one, in which a step of each of its keys ran."""
    wanted = {step.key for step in build.steps if step.key is not None and step.is_step}
    found: dict[str, tuple[BuildRecord, RecordedStep]] = {}
    for other in records.all():
        if other.started <= build.started:
            for step in other.steps:
                if step.state == "ran" and step.key in wanted and step.key not in found:
                    found[step.key] = other, step
        if len(found) == len(wanted):
            break
    return found


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

    def known(key: str) -> KeyParts | None:
        found = parts(key)
        made: KeyParts | None = None if found is None else mask.data(found)
        return made

    return known


def _known(parts: GetParts, build: BuildRecord) -> Mapping[str, KeyParts]:
    return {
        step.key: found
        for step in build.steps
        if step.key is not None and step.is_step and (found := parts(step.key)) is not None
    }
