"""Laws that hold for any Dockerfile: layers match the history, equal texts mean equal graphs."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minibuild_dockerfile.convert import convert

from minibuild.errors import BuildError, SourceText
from minibuild.graph.frontend import Built, FrontendRequest, LocalContext
from minibuild.graph.op import Exec, File, Merge
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import Vertex
from tests.support.dump import dump
from tests.support.resolver import FakeResolver

AMD64 = Platform("linux", "amd64")
STEPS = st.sampled_from(
    [
        "RUN a",
        "RUN --mount=target=/m b $X",
        "COPY a /a",
        "COPY --link b /b",
        "COPY --link --chmod=600 c /c",
        "COPY --link --chown=1:2 <<E /d\n$X\nE",
        "COPY --from=0 /a /e",
        "ADD --link https://example.com/x /x",
        "ADD https://example.com/x y.tar /z/",
        "WORKDIR /w",
        "WORKDIR ..",
        "WORKDIR /",
        "USER u",
        "ENV X=1",
        "ARG X=2 Y",
        "LABEL l=$X",
        "ONBUILD RUN t",
        "ONBUILD COPY --link --from=0 /a /t",
        'CMD ["c"]',
        "EXPOSE 1-3",
    ]
)
BASES = st.sampled_from(["scratch", "busybox", "s0", "s1", "ctx"])
STAGES = st.lists(st.tuples(BASES, st.lists(STEPS, max_size=6)), min_size=1, max_size=4)


def text_of(stages: list[tuple[str, list[str]]]) -> str:
    lines: list[str] = []
    for number, (base, steps) in enumerate(stages):
        lines += [f"FROM {base} AS s{number}", *steps]
    return "\n".join(lines) + "\n"


def built(text: str) -> Built | None:
    request = FrontendRequest(
        SourceText("Dockerfile", text),
        (AMD64,),
        AMD64,
        contexts={"ctx": LocalContext("ctx")},
    )
    try:
        return convert(request, FakeResolver()).images[0]
    except BuildError as error:
        assert error.message and error.source is not None
        return None


def diffs(vertex: Vertex | None) -> int:
    """The layers that a vertex has; a made-up image and a context have one."""
    count = 0
    pending = [vertex]
    while pending:
        if (at := pending.pop()) is None:
            continue
        if isinstance(at.op, Merge):
            assert not any(v and isinstance(v.op, Merge) for v in at.inputs)
            pending.extend(at.inputs)
            continue
        count += 1
        if isinstance(at.op, Exec | File):
            pending.append(at.inputs[0])
    return count


@given(STAGES)
def test_every_layer_has_its_entry_in_the_history(stages: list[tuple[str, list[str]]]) -> None:
    image = built(text_of(stages))
    if image is not None:
        entries = [entry for entry in image.config.history if not entry.get("empty_layer")]
        assert diffs(image.vertex) == len(entries)


@given(STAGES)
def test_converting_is_a_function(stages: list[tuple[str, list[str]]]) -> None:
    first, second = built(text_of(stages)), built(text_of(stages))
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert dump([first]) == dump([second])


@given(st.lists(st.text(), max_size=4).map(lambda lines: "FROM busybox\n" + "\n".join(lines)))
def test_nonsense_is_a_build_error(text: str) -> None:
    built(text)


@given(st.sampled_from(["RUN", "COPY", "ADD", "ENV", "EXPOSE", "ARG"]), st.text(max_size=30))
def test_nonsense_after_a_keyword_is_a_build_error(keyword: str, rest: str) -> None:
    built(f"FROM busybox\n{keyword} {rest}\n")


@pytest.mark.parametrize(
    "text",
    [
        "ENV " + " \\\n".join(f"A{n}=b" for n in range(20_000)),
        "\n".join(f"ENV A{n}=b" for n in range(10_000)),
        "\n".join(f"ENV A{n}=$B{n}" for n in range(5_000)),
        "\n".join(f"ARG A{n}=$A{n - 1}" for n in range(10_000)),
        "COPY " + "a \\\n" * 40_000 + "/d/",
        "EXPOSE 1-60000\nEXPOSE 1-60000/udp",
        "RUN a\n" * 5_000,
    ],
    ids=lambda text: text[:12],
)
def test_time_is_in_proportion_to_length(text: str) -> None:
    source = SourceText("Dockerfile", f"FROM busybox\n{text}\n")
    started = time.process_time()
    convert(FrontendRequest(source, (AMD64,), AMD64), FakeResolver())
    assert time.process_time() - started < 4
