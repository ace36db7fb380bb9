"""What is fuzzed: the Dockerfile frontend, as a function of bytes.

Comes in: any bytes. Goes out: nothing, or an exception that should not be there. A wrong Dockerfile
may end in a `DockerfileError` (parsing) or a `BuildError` (conversion), and in nothing else.
Read next: `__main__`, which feeds it.
"""

from minibuild_dockerfile.convert import check
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.expand import process_heredoc, process_word
from minibuild_dockerfile.parse import parse
from minibuild_dockerfile.subrequests import outline, targets

from minibuild.errors import BuildError, SourceText, Span
from minibuild.graph.frontend import FrontendRequest, LocalContext
from minibuild.graph.ignore import IgnorePatterns
from minibuild.graph.ignore_file import parse as read_ignore_file
from minibuild.graph.platform import Platform
from tests.support.resolver import FakeResolver

_AMD64 = Platform("linux", "amd64")
_IMAGES = {"alpine": {}, "trigger": {"config": {"OnBuild": ["COPY . /", "RUN <<E\na\nE"]}}}
_VARIABLES = {"A": "a/b.c", "B": "", "PATH": "/bin"}
_SPAN = Span("Dockerfile", 1, 1)

WORDS = (
    "FROM RUN COPY ADD ARG ENV LABEL EXPOSE USER VOLUME WORKDIR CMD ENTRYPOINT SHELL HEALTHCHECK "
    "STOPSIGNAL ONBUILD MAINTAINER --mount= type=cache type=bind type=secret target= from= id= "
    "--from= --link --parents --chmod= --chown= --exclude= --platform= --interval= --checksum= "
    "<<EOF <<-EOF EOF ${ } :- :+ :? // % # \\ ` ' \" [ ] , busybox scratch https://h/x.git#r:s "
    "AS NONE 80/udp 1-9 **/* ! syntax= escape= check=skip=all ;error=true $A"
).split()


def run(data: bytes) -> None:
    """One input, through everything that reads text of a Dockerfile."""
    text = data.decode("utf-8", "surrogateescape")
    source = SourceText("Dockerfile", text)
    try:
        parse(source)
    except DockerfileError as error:
        assert 1 <= error.span.first <= error.span.last, error.span
    rules = read_ignore_file(text[:2000])
    request = FrontendRequest(
        source,
        (_AMD64,),
        _AMD64,
        context=LocalContext("context", rules),
        build_args={"B": "1"},
    )
    resolver = FakeResolver(_IMAGES)
    check(request, resolver)
    for ask in (lambda: targets(request), lambda: outline(request, resolver)):
        try:
            ask()
        except BuildError:
            pass
    for expand in (process_word, process_heredoc):
        try:
            expand(text, _VARIABLES, _SPAN)
        except DockerfileError:
            pass
    try:
        IgnorePatterns(rules.patterns).excluded("a/b.c")
    except BuildError:
        pass
