"""What a store knows that explains a build: what keys were made of, and where steps ran.

Comes in: a cache, records, a build. Goes out: functions and tables for `story` and `blame`.
"""

from collections.abc import Mapping

from minibuild.cache.records import Cache
from minibuild.digest import Digest
from minibuild.record.causes import Parts
from minibuild.record.records import BuildRecord, RecordedStep, Records
from minibuild.record.story import GetParts


def known_parts(cache: Cache, *builds: BuildRecord) -> GetParts:
    """What keys were made of: what came with a record, or else what the store has."""

    def known(key: str) -> Parts | None:
        for build in builds:
            if key in build.parts:
                brought: Parts = build.parts[key]
                return brought
        found = cache.parts(Digest(key))
        return found if found is None or "op" in found else None

    return known


def where_ran(
    records: Records, build: BuildRecord
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
