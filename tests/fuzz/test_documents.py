"""Broken documents, to whatever reads some: of each package, satellites too."""

from tests.fuzz.documents import run


def test_the_first_documents_of_the_fuzzer() -> None:
    """`python -m tests.fuzz documents` makes more of them: as many as there is time for."""
    for number in range(500):
        run(number)
