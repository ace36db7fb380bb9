"""The rules of the build checks: BuildKit's names, so that directives and editors agree.

Comes in: nothing. Goes out: one `Rule` for each. What each message says is fixed by BuildKit's
own, because people search for it; the explanations are ours.
Read next: `report`.
"""

from minibuild.startup.tuples import NamedTuple

_PAGES = "https://docs.docker.com/go/dockerfile/rule/"


class Rule(NamedTuple):
    """A check. An `experimental` one is off unless the check directive asks for it."""

    name: str
    page: str
    description: str
    experimental: bool = False

    @property
    def url(self) -> str:
        """The page that explains the rule; empty for rules of our own."""
        return f"{_PAGES}{self.page}/" if self.page else ""


STAGE_NAME_CASING = Rule(
    "StageNameCasing", "stage-name-casing", "Write names of stages in lower case"
)
FROM_AS_CASING = Rule(
    "FromAsCasing", "from-as-casing", "Write 'as' in the same case as the 'from' before it"
)
NO_EMPTY_CONTINUATION = Rule(
    "NoEmptyContinuation",
    "no-empty-continuation",
    "An empty line in a continuation is an error to be",
)
CONSISTENT_INSTRUCTION_CASING = Rule(
    "ConsistentInstructionCasing",
    "consistent-instruction-casing",
    "Write all instructions in one case, upper or lower",
)
DUPLICATE_STAGE_NAME = Rule(
    "DuplicateStageName", "duplicate-stage-name", "Give every stage a name of its own"
)
RESERVED_STAGE_NAME = Rule(
    "ReservedStageName", "reserved-stage-name", "Some words cannot be told from what they stand for"
)
JSON_ARGS_RECOMMENDED = Rule(
    "JSONArgsRecommended",
    "json-args-recommended",
    "A shell form starts a shell as process 1, which passes no signals on to your program",
)
MAINTAINER_DEPRECATED = Rule(
    "MaintainerDeprecated",
    "maintainer-deprecated",
    "Name the author in the label org.opencontainers.image.authors",
)
UNDEFINED_ARG_IN_FROM = Rule(
    "UndefinedArgInFrom", "undefined-arg-in-from", "FROM sees only ARGs from before the first FROM"
)
WORKDIR_RELATIVE_PATH = Rule(
    "WorkdirRelativePath",
    "workdir-relative-path",
    "A relative first WORKDIR is somewhere else when the base image changes its own",
)
UNDEFINED_VAR = Rule(
    "UndefinedVar", "undefined-var", "A variable has to be declared by ARG or ENV before its use"
)
MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule(
    "MultipleInstructionsDisallowed",
    "multiple-instructions-disallowed",
    "Of several instructions of this kind in a stage only the last has an effect",
)
LEGACY_KEY_VALUE_FORMAT = Rule(
    "LegacyKeyValueFormat",
    "legacy-key-value-format",
    "Put an equals sign between name and value",
)
INVALID_BASE_IMAGE_PLATFORM = Rule(
    "InvalidBaseImagePlatform",
    "",  # BuildKit's documentation has none
    "The base image is for another platform than the one asked for",
)
REDUNDANT_TARGET_PLATFORM = Rule(
    "RedundantTargetPlatform",
    "redundant-target-platform",
    "A stage is built for the target platform anyway",
)
SECRETS_USED_IN_ARG_OR_ENV = Rule(
    "SecretsUsedInArgOrEnv",
    "secrets-used-in-arg-or-env",
    "ARG and ENV end up in the image; hand secrets over with RUN --mount=type=secret",
)
INVALID_DEFAULT_ARG_IN_FROM = Rule(
    "InvalidDefaultArgInFrom",
    "invalid-default-arg-in-from",
    "Without build arguments this FROM has no image; give the ARG a default",
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule(
    "FromPlatformFlagConstDisallowed",
    "from-platform-flag-const-disallowed",
    "A fixed platform makes an image that cannot be built for others",
)
COPY_IGNORED_FILE = Rule(
    "CopyIgnoredFile", "copy-ignored-file", "The ignore file keeps this out of the build context"
)
INVALID_DEFINITION_DESCRIPTION = Rule(
    "InvalidDefinitionDescription",
    "invalid-definition-description",
    "A comment right above an ARG or FROM describes it, and so begins with its name",
    experimental=True,
)
EXPOSE_PROTO_CASING = Rule(
    "ExposeProtoCasing", "expose-proto-casing", "Write protocols of EXPOSE in lower case"
)
EXPOSE_INVALID_FORMAT = Rule(
    "ExposeInvalidFormat",
    "expose-invalid-format",
    "EXPOSE takes ports of the container alone; addresses and host ports belong to docker run",
)

BUILDKIT_RULES = (
    STAGE_NAME_CASING,
    FROM_AS_CASING,
    NO_EMPTY_CONTINUATION,
    CONSISTENT_INSTRUCTION_CASING,
    DUPLICATE_STAGE_NAME,
    RESERVED_STAGE_NAME,
    JSON_ARGS_RECOMMENDED,
    MAINTAINER_DEPRECATED,
    UNDEFINED_ARG_IN_FROM,
    WORKDIR_RELATIVE_PATH,
    UNDEFINED_VAR,
    MULTIPLE_INSTRUCTIONS_DISALLOWED,
    LEGACY_KEY_VALUE_FORMAT,
    INVALID_BASE_IMAGE_PLATFORM,
    REDUNDANT_TARGET_PLATFORM,
    SECRETS_USED_IN_ARG_OR_ENV,
    INVALID_DEFAULT_ARG_IN_FROM,
    FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    COPY_IGNORED_FILE,
    INVALID_DEFINITION_DESCRIPTION,
    EXPOSE_PROTO_CASING,
    EXPOSE_INVALID_FORMAT,
)
