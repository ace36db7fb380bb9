"""Fuzz what reads the texts of others.

    python -m tests.fuzz [SECONDS] [CORPUS]             the Dockerfile frontend
    python -m tests.fuzz documents [SECONDS] [SEED]     manifests, configs, caches, logins, ...

Comes in: how long; a folder that keeps interesting Dockerfiles between runs; the number of the
first document. Goes out: the number of inputs; or the first that raised what it should not, or took
longer than ten seconds, with status 1. Documents are good ones with something wrong in them, and
follow from their numbers alone, so that a finding can be had again. Dockerfiles follow what the
code does with them if the package atheris is there (pip install atheris); without it hypothesis
makes them from words of the language. Neither is a part of the tests: they have no end.
"""

import sys
import time
from pathlib import Path

DEFAULT_S = 60
SLOW_S = 10
_TESTDATA = Path(__file__).parent.parent.parent / "testdata"


def main(seconds: int, corpus: str) -> int:
    """Fuzz with what is there."""
    try:
        import atheris
    except ImportError:
        return _with_hypothesis(seconds)
    from tempfile import TemporaryDirectory

    with atheris.instrument_imports(include=["minibuild_dockerfile", "minibuild"]):
        from tests.fuzz.target import WORDS, run

    with TemporaryDirectory(prefix="minibuild-fuzz.") as folder:
        seeds = Path(corpus or f"{folder}/corpus")
        seeds.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(sorted(_TESTDATA.rglob("*Dockerfile"))):
            (seeds / f"seed{number}").write_bytes(path.read_bytes())
        words = Path(folder, "words")
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS))
        flags = [f"-max_total_time={seconds}", f"-timeout={SLOW_S}", f"-dict={words}"]
        atheris.Setup(["fuzz", *flags, "-max_len=4096", "-print_final_stats=1", str(seeds)], run)
        atheris.Fuzz()  # ends the process
    return 0


def start(words: list[str]) -> int:
    """Do what the command line says."""
    of_documents = words[:1] == ["documents"]
    given = words[1:] if of_documents else words
    seconds = int(given[0]) if given else DEFAULT_S
    rest = given[1] if len(given) > 1 else ""
    return fuzz_documents(seconds, int(rest or 0)) if of_documents else main(seconds, rest)


def fuzz_documents(seconds: int, first: int) -> int:
    """Documents by their numbers, from `first` on."""
    from tests.fuzz.documents import run

    number, end = first, time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        try:
            run(number)
            assert time.monotonic() - began < SLOW_S, "slow"
        except BaseException:
            sys.stderr.write(f"document {number}:\n")
            raise
        number += 1
    sys.stdout.write(f"{number - first} documents from {first} on, nothing found\n")
    return 0


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"')


def _with_hypothesis(seconds: int) -> int:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    from tests.fuzz.target import WORDS, run

    word = st.sampled_from(WORDS) | st.text(max_size=5)
    line = st.lists(word, max_size=8).map(" ".join)
    texts = st.lists(line, max_size=12).map(lambda lines: "FROM busybox\n" + "\n".join(lines))
    inputs = texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary()
    count, end = 0, time.monotonic() + seconds

    @settings(
        max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(inputs)
    def some(data: bytes) -> None:
        nonlocal count
        count += 1
        began = time.monotonic()
        run(data)
        assert time.monotonic() - began < SLOW_S, "slow"

    while time.monotonic() < end:
        some()
    sys.stdout.write(f"{count} inputs by hypothesis, nothing found\n")
    return 0


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
