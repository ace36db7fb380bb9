"""`build --squash`: one layer above the base, with the files that all layers add up to."""

from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]
Project = Callable[[Mapping[str, str]], str]

DOCKERFILE = """\
FROM busybox AS base
RUN mkdir -p /keep /gone && echo base > /keep/base && echo base > /gone/base
FROM base
RUN echo secret > /secret && rm /gone/base && chmod 700 /keep
COPY --link Dockerfile /linked/
RUN rm /secret && ln /linked/Dockerfile /again
ENV A=b
"""


def test_files_stay_and_layers_do_not(builds: Builds, project: Project) -> None:
    context = project({"Dockerfile": DOCKERFILE})
    one, many = builds.image(context, "--squash"), builds.image(context)
    assert one.files == many.files
    assert (len(many.layers), len(one.layers)) == (5, 2)  # of busybox, the one layer is the base
    assert one.manifest["layers"][0] == many.manifest["layers"][0]
    assert "secret" not in " ".join(one.layers[-1])
    assert "busybox" not in " ".join(one.layers[-1])  # that is the base's
    assert one.created_by[: len(many.created_by)] == many.created_by
    assert one.created_by[-1] == "minibuild build --squash"
    filled = [entry for entry in one.config["history"] if not entry.get("empty_layer")]
    assert len(filled) == 2
    assert one.config["config"] == many.config["config"]


def test_the_same_build_is_the_same_image(builds: Builds, project: Project) -> None:
    context = project({"Dockerfile": DOCKERFILE})
    flags = ("--squash", "--build-arg=SOURCE_DATE_EPOCH=1000000000")
    first, again = (builds.image(context, *flags) for _ in range(2))
    assert first.manifest == again.manifest


def test_what_is_one_layer_stays_it(builds: Builds, project: Project) -> None:
    context = project({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
    assert builds.image(context, "--squash").manifest == builds.image(context).manifest
