"""The rules of the build checks: BuildKit's names, so that directives and editors agree.

Comes in: nothing. Goes out: one `Rule` for each. What each message says is fixed by BuildKit's
own, because people search for it; the explanations are ours.
Read next: `report`.
"""

import re

from minibuild.startup.tuples import NamedTuple

_PAGES = "https://docs.docker.com/go/dockerfile/rule/"


class Rule(NamedTuple):
    """A check. An `experimental` one is off unless the check directive asks for it. `page`: Docker
    has one that explains it."""

    name: str
    description: str
    experimental: bool = False
    page: bool = True

    @property
    def url(self) -> str:
        """The page that explains the rule; empty for rules of our own."""
        words = re.findall("[A-Z]+(?![a-z])|[A-Z][a-z]+", self.name)
        return f"{_PAGES}{'-'.join(words).lower()}/" if self.page else ""


STAGE_NAME_CASING = Rule("StageNameCasing", "Write names of stages in lower case")
FROM_AS_CASING = Rule("FromAsCasing", "Write 'as' in the same case as the 'from' before it")
NO_EMPTY_CONTINUATION = Rule(
    "NoEmptyContinuation", "An empty line in a continuation is an error to be"
)
CONSISTENT_INSTRUCTION_CASING = Rule(
    "ConsistentInstructionCasing", "Write all instructions in one case, upper or lower"
)
DUPLICATE_STAGE_NAME = Rule("DuplicateStageName", "Give every stage a name of its own")
RESERVED_STAGE_NAME = Rule(
    "ReservedStageName", "Some words cannot be told from what they stand for"
)
JSON_ARGS_RECOMMENDED = Rule(
    "JSONArgsRecommended",
    "A shell form starts a shell as process 1, which passes no signals on to your program",
)
MAINTAINER_DEPRECATED = Rule(
    "MaintainerDeprecated", "Name the author in the label org.opencontainers.image.authors"
)
UNDEFINED_ARG_IN_FROM = Rule("UndefinedArgInFrom", "FROM sees only ARGs from before the first FROM")
WORKDIR_RELATIVE_PATH = Rule(
    "WorkdirRelativePath",
    "A relative first WORKDIR is somewhere else when the base image changes its own",
)
UNDEFINED_VAR = Rule("UndefinedVar", "A variable has to be declared by ARG or ENV before its use")
MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule(
    "MultipleInstructionsDisallowed",
    "Of several instructions of this kind in a stage only the last has an effect",
)
LEGACY_KEY_VALUE_FORMAT = Rule("LegacyKeyValueFormat", "Put an equals sign between name and value")
INVALID_BASE_IMAGE_PLATFORM = Rule(
    "InvalidBaseImagePlatform",
    "The base image is for another platform than the one asked for",
    page=False,  # BuildKit's documentation has none
)
REDUNDANT_TARGET_PLATFORM = Rule(
    "RedundantTargetPlatform", "A stage is built for the target platform anyway"
)
SECRETS_USED_IN_ARG_OR_ENV = Rule(
    "SecretsUsedInArgOrEnv",
    "ARG and ENV end up in the image; hand secrets over with RUN --mount=type=secret",
)
INVALID_DEFAULT_ARG_IN_FROM = Rule(
    "InvalidDefaultArgInFrom",
    "Without build arguments this FROM has no image; give the ARG a default",
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule(
    "FromPlatformFlagConstDisallowed",
    "A fixed platform makes an image that cannot be built for others",
)
COPY_IGNORED_FILE = Rule("CopyIgnoredFile", "The ignore file keeps this out of the build context")
INVALID_DEFINITION_DESCRIPTION = Rule(
    "InvalidDefinitionDescription",
    "A comment right above an ARG or FROM describes it, and so begins with its name",
    experimental=True,
)
EXPOSE_PROTO_CASING = Rule("ExposeProtoCasing", "Write protocols of EXPOSE in lower case")
EXPOSE_INVALID_FORMAT = Rule(
    "ExposeInvalidFormat",
    "EXPOSE takes ports of the container alone; addresses and host ports belong to docker run",
)
