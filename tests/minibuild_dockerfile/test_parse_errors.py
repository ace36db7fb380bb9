"""What is wrong in a Dockerfile: the words, the lines, and a hint."""

import pytest
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.instructions import ParsedFile
from minibuild_dockerfile.parse import parse

from minibuild.errors import SourceText, Span


def read(text: str) -> ParsedFile:
    return parse(SourceText("Dockerfile", text))


ERRORS = [
    ("", (1, 1), "the Dockerfile cannot be empty"),
    ("# only\n# comments\n", (2, 2), "file with no instructions"),
    ("\n \n", (2, 2), "file with no instructions"),
    ("RUN x\nFROM y\n", (1, 1), "no build stage in current context"),
    ("# escape=x\nFROM a\n", (1, 1), "invalid escape token 'x' does not match ` or \\"),
    ("# escape=`\n#syntax=a\n# ESCAPE=\\\n", (1, 3), "only one escape parser directive"),
    ("FROM a\nCOPPY a b\n", (2, 2), "unknown instruction: COPPY (did you mean COPY?)"),
    ("FROM a\n\n\nXYZZY \\\n plugh\n", (4, 5), "unknown instruction: XYZZY"),
    ("FROM a\n\\\n\n", (2, 3), "unknown instruction: "),
    ("FROM\n", (1, 1), "FROM requires either one or three arguments"),
    ("FROM a b\n", (1, 1), "FROM requires either one or three arguments"),
    ("FROM a b c\n", (1, 1), "FROM requires either one or three arguments"),
    ("FROM a AS 1st\n", (1, 1), 'invalid name for build stage: "1st", name can\'t start'),
    ("FROM --plattform=x a\n", (1, 1), "unknown flag: --plattform (did you mean --platform?)"),
    ("FROM a\nCOPY a\n", (2, 2), "COPY requires at least two arguments, but only one was"),
    ("FROM a\nADD []\n", (2, 2), "ADD requires at least two arguments"),
    ("FROM a\nCOPY a <<EOF\nEOF\n", (2, 3), "COPY cannot accept a heredoc as a destination"),
    ("FROM a\nCOPY << EOF /x\nEOF\n", (2, 3), "COPY cannot find the text of the heredoc <<"),
    ("FROM a\nCOPY --chown a b\n", (2, 2), "missing a value on flag: --chown"),
    ("FROM a\nCOPY --link= a b\n", (2, 2), "missing a value on flag: --link"),
    ("FROM a\nCOPY --link=no a b\n", (2, 2), "expecting boolean value for flag --link, not: no"),
    ("FROM a\nCOPY --chwon=1 a b\n", (2, 2), "unknown flag: --chwon (did you mean --chown?)"),
    ("FROM a\nCOPY a \\\n b \\\n c\nADD --from=x \\\n a b", (5, 5), "unknown flag: --from"),
    ("FROM a\nCOPY \\\n--link \\\n--link a b", (4, 4), "duplicate flag specified: --link"),
    ("FROM a\nENV\n", (2, 2), "ENV requires at least one argument"),
    ("FROM a\nENV X\n", (2, 2), "ENV must have two arguments"),
    ("FROM a\nENV X=1 \\\n Y\n", (3, 3), 'Syntax error - can\'t find = in "Y"'),
    ("FROM a\nLABEL =x\n", (2, 2), "LABEL names can not be blank"),
    ("FROM a\nARG =x\n", (2, 2), "ARG names can not be blank"),
    ("FROM a\nARG\n", (2, 2), "ARG requires at least one argument"),
    ("FROM a\nARG --x A\n", (2, 2), "unknown flag: --x"),
    ("FROM a\nRUN --device y\n", (2, 2), "missing a value on flag: --device"),
    ("FROM a\nRUN --device= y\n", (2, 2), "failed to parse csv devices: EOF"),
    ("FROM a\nRUN --device='a\"b' y\n", (2, 2), "failed to parse csv devices: "),
    ("FROM a\nRUN --device=x,y z\n", (2, 2), "invalid field 'y' must be a key=value pair"),
    ("FROM a\nRUN --device=x,y=z z\n", (2, 2), "unexpected key 'y' in 'y=z'"),
    ("FROM a\nRUN --device=x,requird=1 z\n", (2, 2), "did you mean required?"),
    ("FROM a\nRUN --device=x,NAME=y z\n", (2, 2), "device name already set to x"),
    ("FROM a\nRUN --device=Required=no z\n", (2, 2), "invalid value for required: no"),
    ("FROM a\nWORKDIR\n", (2, 2), "WORKDIR requires exactly one argument"),
    ('FROM a\nENV a=b c"\n', (2, 2), 'find = in "c\\"". Must be'),
    ("FROM a\nEXPOSE\n", (2, 2), "EXPOSE requires at least one argument"),
    ("FROM a\nVOLUME []\n", (2, 2), "VOLUME requires at least one argument"),
    ('FROM a\nVOLUME ["a", " "]\n', (2, 2), "VOLUME specified can not be an empty string"),
    ("FROM a\nSHELL sh -c\n", (2, 2), "SHELL requires the arguments to be in JSON form"),
    ("FROM a\nSHELL []\n", (2, 2), "SHELL requires at least one argument"),
    ('FROM a\nCMD ["a", 1]\n', (2, 2), "arrays must be comprised of strings only"),
    ('FROM a\nRUN ["a", ["b"]]\n', (2, 2), "arrays must be comprised of strings only"),
    ("FROM a\nHEALTHCHECK\n", (2, 2), "HEALTHCHECK requires at least one argument"),
    ("FROM a\nHEALTHCHECK exec x\n", (2, 2), 'Unknown type "EXEC" in HEALTHCHECK (try CMD)'),
    ("FROM a\nHEALTHCHECK NONE x\n", (2, 2), "HEALTHCHECK NONE takes no arguments"),
    ("FROM a\nHEALTHCHECK CMD\n", (2, 2), "Missing command after HEALTHCHECK CMD"),
    ("FROM a\nHEALTHCHECK --interval=x CMD y\n", (2, 2), 'time: invalid duration "x"'),
    ("FROM a\nHEALTHCHECK --timeout=1us CMD y\n", (2, 2), 'Interval "timeout" cannot be less'),
    ("FROM a\nHEALTHCHECK --retries=-1 CMD y\n", (2, 2), "--retries cannot be negative (-1)"),
    ("FROM a\nHEALTHCHECK --retries=x CMD y\n", (2, 2), "invalid syntax"),
    ("FROM a\nONBUILD\n", (2, 2), "ONBUILD requires at least one argument"),
    ("FROM a\nONBUILD onbuild RUN x\n", (2, 2), "Chaining ONBUILD via `ONBUILD ONBUILD`"),
    ("FROM a\nONBUILD from x\n", (2, 2), "FROM isn't allowed as an ONBUILD trigger"),
    ("FROM a\nONBUILD ENV A\n", (2, 2), "ENV must have two arguments"),
    ("FROM a\nONBUILD CMD [1]\n", (2, 2), "arrays must be comprised of strings only"),
    ("FROM a\nONBUILD COPY --chown=1 [null]\n", (2, 2), "must be comprised of strings only"),
    ("FROM a\nONBUILD HEALTHCHECK CMD [1]\n", (2, 2), "must be comprised of strings only"),
    ("FROM a\nRUN --network= x\n", (2, 2), 'invalid network mode ""'),
    ("FROM a\nRUN --security= x\n", (2, 2), 'security "" is not valid'),
    ("FROM a\nHEALTHCHECK --retries=3000000000 CMD y\n", (2, 2), "value out of range"),
    ("FROM a\nRUN --network=wifi x\n", (2, 2), 'invalid network mode "wifi"'),
    ("FROM a\nRUN --security=none x\n", (2, 2), 'security "none" is not valid'),
    ("FROM a\nRUN <<EOF\nx\n", (2, 2), "unterminated heredoc"),
    ("FROM a\nRUN \\\n cat <<A <<B\nA\nx", (2, 4), "unterminated heredoc"),
    ("FROM a\nRUN echo $((1 << 4))\n", (2, 2), "unterminated heredoc"),
    ("FROM a\nRUN --mount=from=$X,target=/x y\n", (2, 2), "'from' doesn't support variable"),
    ("FROM a\nRUN a \\\n b\0c\n", (3, 3), "a NUL character"),
    ("FROM a\nWORKDIR /a\0b\n", (2, 2), "a NUL character"),
    ('FROM a\nCOPY ["a\\u0000", "b"]\n', (2, 2), "a NUL character"),
]


@pytest.mark.parametrize(("text", "lines", "message"), ERRORS, ids=lambda case: repr(case)[:40])
def test_error(text: str, lines: tuple[int, int], message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        read(text)
    assert message in caught.value.message
    assert caught.value.span == Span("Dockerfile", *lines)
    assert "\n" not in caught.value.message


def test_an_error_about_a_part_knows_where_its_instruction_begins() -> None:
    with pytest.raises(DockerfileError) as caught:
        read("FROM a\nCOPY \\\n--link \\\n--link a b")
    assert (caught.value.line, caught.value.span) == (2, Span("Dockerfile", 4, 4))


def test_every_error_has_a_hint() -> None:
    for text, _, _ in ERRORS:
        with pytest.raises(DockerfileError) as caught:
            read(text)
        assert caught.value.hint, text


def test_a_nul_that_no_step_gets_is_no_error() -> None:
    read('# a\0b\nFROM a\nLABEL a=b\0c\nCMD ["a\\u0000"]\nCOPY <<EOF /x\na\0b\nEOF\n')
