"""What stands for more than memory holds is refused with the line, and nothing else is."""

import pytest
from minibuild_dockerfile import limits
from minibuild_dockerfile.convert import convert
from minibuild_dockerfile.errors import DockerfileError

from minibuild.errors import SourceText
from minibuild.graph.frontend import FrontendRequest, FrontendResult
from minibuild.graph.op import Exec
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import topological
from tests.support.resolver import FakeResolver

AMD64 = Platform("linux", "amd64")
KIB = "x" * 1024


def build(text: str, *platforms: Platform) -> FrontendResult:
    source = SourceText("Dockerfile", text)
    return convert(FrontendRequest(source, platforms or (AMD64,), AMD64), FakeResolver())


def lines(instruction: str, count: int) -> str:
    return f"{instruction}\n" * count


@pytest.mark.parametrize(
    "text",
    [
        f"FROM busybox\nENV a={KIB}\n" + lines("ENV a=$a$a", 50),
        f"FROM busybox\nARG a={KIB}\n" + lines("ARG a=$a$a", 50),
        f"ARG a={KIB}\n" + lines("ARG a=$a$a", 50) + "FROM busybox\n",
        f"FROM busybox\nENV a={KIB}\n" + lines("ENV a=" + "$a" * 200, 50),
        f"FROM busybox\nENV a={KIB}\n" + lines("ENV a=${a//x/$a}", 50),
        f"FROM busybox\nENV a={KIB}\n" + lines("ENV a=${a:-1}${a:+$a}", 50),
        f"FROM busybox\nENV a={KIB * 16}\n" + lines("LABEL b=$a c=$a d=$a", 700),
        f"FROM busybox\nENV a={KIB * 16}\n" + lines("EXPOSE ${a:+1-5000}$a", 700),
        f"FROM busybox\nENV a={KIB * 16}\nCOPY <<E /\n" + lines("$a", 1300) + "E\n",
        f"FROM busybox\nENV a={KIB * 16}\n" + lines("COPY $a /", 1300),
        f"FROM busybox\nARG a={KIB * 16}\n" + lines("RUN x", 1300),
        "FROM busybox AS a\n" + lines("ENV a=1", 5000) + lines("FROM a AS a", 5000),
    ],
)
def test_a_bomb_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(DockerfileError, match=r"stand for more than 16 MiB|invalid") as caught:
        build(text)
    assert caught.value.span is not None and caught.value.span.first > 2
    assert len(caught.value.message) < 20_000


def test_what_is_long_and_not_endless_is_built() -> None:
    text = f"FROM busybox\nENV a={KIB * 60}\n" + lines("RUN echo $a $a", 100)
    (image,) = build(text).images
    names = [v.note.name for v in topological([image.vertex]) if isinstance(v.op, Exec)]
    assert names[-1] == "[101/101] RUN echo $a $a"


def test_each_image_has_its_own_budget() -> None:
    text = f"FROM busybox AS a\nENV a={KIB * 16}\n" + lines("ENV b=$a$a$a", 175)
    assert len(build(text, AMD64, Platform("linux", "arm64")).images) == 2
    with pytest.raises(DockerfileError, match="16 MiB"):
        build(text + text.replace("AS a", "AS b") + "COPY --from=a a /\n")


@pytest.mark.parametrize("instruction", ["ARG A=1", "ENV A=1", "LABEL A=1", "RUN x", "USER x"])
def test_too_many_instructions(instruction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits.MOST_INSTRUCTIONS == 100_000
    monkeypatch.setattr(limits, "MOST_INSTRUCTIONS", 1000)
    text = "FROM busybox\n" + lines(instruction, limits.MOST_INSTRUCTIONS)
    with pytest.raises(DockerfileError, match="more than 1000 instructions") as caught:
        build(text)
    assert caught.value.span is not None
    assert caught.value.span.first == limits.MOST_INSTRUCTIONS + 1


@pytest.mark.parametrize(
    "instruction",
    [
        "ARG" + " A" * 100_001,
        "ENV" + " A=1" * 100_001,
        "LABEL" + " A=1" * 100_001,
        "EXPOSE" + " 1" * 100_001,
        "VOLUME" + " a" * 100_001,
        "COPY" + " a" * 100_001,
        "COPY" + " --exclude=a" * 100_001 + " a b",
        "CMD [" + ' "a",' * 100_000 + ' "b"]',
    ],
    ids=str.split("ARG ENV LABEL EXPOSE VOLUME COPY exclude JSON"),
)
def test_too_many_words(instruction: str) -> None:
    with pytest.raises(DockerfileError, match="more than 100000 words") as caught:
        build("FROM busybox\n" + instruction.replace(" ", " \\\n ") + "\n")
    assert caught.value.span is not None and caught.value.span.first == 2


@pytest.mark.parametrize(
    "text",
    [
        "RUN {}\n",
        "RUN a \\\n{}\n",
        "# {}\n",
        "RUN a \\\n#{}\n b\n",
        "COPY <<E /\n{}\nE\n",
        "RUN <<E\n{}\nE\n",
    ],
)
def test_no_line_is_longer_than_64_kib(text: str) -> None:
    """In bytes, and not as BuildKit says it: its errors name the line above."""
    text = "FROM busybox\n" + text
    fits = limits.MOST_LINE_BYTES - max(len(line) - 2 for line in text.split("\n") if "{" in line)
    build(text.format("x" * fits))
    for long in ("x" * (fits + 1), "é" * (fits // 2 + 1)):
        with pytest.raises(
            DockerfileError, match="greater than max allowed size of 65535"
        ) as caught:
            build(text.format(long))
        assert caught.value.span is not None
        assert caught.value.span.first == text[: text.index("{")].count("\n") + 1


def test_steps_share_the_variables_that_they_see() -> None:
    (image,) = build("FROM busybox\nENV A=1\nRUN x\nRUN y\nENV B=1\nRUN z\n").images
    first, second, third = (v.op.env for v in topological([image.vertex]) if isinstance(v.op, Exec))
    assert first is second
    assert dict(third) == {**dict(first), "B": "1"}


@pytest.mark.parametrize("word", ["${", "'", '"$a'])
def test_the_error_about_a_long_word_is_short(word: str) -> None:
    with pytest.raises(DockerfileError, match="failed to process") as caught:
        build(f"FROM busybox\nENV a={word}{KIB * 60}\n")
    assert len(caught.value.message) < 2000
