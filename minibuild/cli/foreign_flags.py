"""Flags of docker, kaniko, buildah and podman that are not here: what to write in their place.

Data only, read when a flag is refused. docs/from-docker.md, docs/from-kaniko.md and
docs/from-buildah.md are made of it. Read next: `build_flags`, which has the flags that are here.
"""

from collections.abc import Mapping

_CACHED = "leave it out: steps are always cached; `--no-cache` runs them again"
_CACHE_PLACE = "`--cache-to type=registry,ref=REPOSITORY,mode=max` and `--cache-from REPOSITORY`"
_CAPS = "`RUN --security=insecure`, with `--allow security.insecure`, has all capabilities"
_CERTIFICATES = "put NAME.cert and NAME.key, or the authority's *.crt, into "
_CERTIFICATES += "~/.config/containers/certs.d/HOST/"
_COMPRESSION = "`-o type=image,compression=gzip|zstd|uncompressed,compression-level=N`"
_CONTEXT = "fetch the context first, then name the archive: `minibuild build context.tar.gz`"
_DNS = "leave it out: steps use the name servers of this machine's /etc/resolv.conf"
_EPOCH = "`--build-arg SOURCE_DATE_EPOCH=N`, or that variable"
_HOST_FILES = "leave it out: /etc/hosts and /etc/hostname of a step are in no layer"
_INSECURE = "`--tls-verify=false`: registries may do without TLS, or have any certificate"
_LOG = "redirect standard error: `minibuild build . 2>FILE`"
_METADATA = "`--metadata-file FILE` has image.name and containerimage.digest"
_MOUNTS = "leave it out: what is mounted in a step never comes into its layer"
_NO_RUNTIME = "leave it out: there is no container runtime below minibuild"
_NO_SNAPSHOT = "leave it out: the kernel keeps the changes of a step apart, without a search"
_OS_VERSION = "`--platform 'windows(10.0.17763)/amd64'` has the version of the system in it"
_PLATFORM = "`--platform OS/ARCH[/VARIANT]`"
_RETRIES = "leave it out: what fails for a moment is tried five times"
_REWRITE = f"{_EPOCH}; with `-o type=image,rewrite-timestamp=true` for the times of files"
_SANDBOX = "leave it out: each RUN has namespaces of its own; `--network` chooses that one"
_SBOM = "`--sbom` says which packages are in the image: see docs/attestations.md"
_SETTINGS = '`[registries."HOST"]` in the settings (docs/registries.md): '
_USERNS = "leave it out: minibuild enters a user namespace where it needs one"
_VOLUME = "`RUN --mount=type=bind,from=NAME`, with `--build-context NAME=DIR`"

_DOCKER = {
    "--builder": "leave it out: there is no daemon, so there are no builders to choose from",
    "--cgroup-parent": "start minibuild in that cgroup: those of steps are made below its own",
    "--isolation": "leave it out: each RUN has namespaces; see `minibuild doctor`",
    "--policy": "leave it out: policies are planned",
    "--print": "`--call`, its new name",
    "--security-opt": "`RUN --security=insecure`, with `--allow security.insecure`, confines less",
    "--stream": "leave it out: there is no daemon to send the context to",
}

_KANIKO = {
    "--azure-container-registry-config": "a credential helper in Docker's config.json logs in",
    "--bucket": _CONTEXT,
    "--cache": f"leave it out: steps are cached. For other machines: {_CACHE_PLACE}",
    "--cache-copy-layers": _CACHED,
    "--cache-dir": "leave it out: bases stay in the store, see `--root`; or `--cache-from "
    "type=local,src=DIR`",
    "--cache-repo": _CACHE_PLACE,
    "--cache-run-layers": _CACHED,
    "--cleanup": "leave it out: a build changes nothing outside of its store",
    "--compressed-caching": "`--cache-to type=registry,ref=REPOSITORY,compression=uncompressed`",
    "--compression": _COMPRESSION,
    "--compression-level": _COMPRESSION,
    "--context": "the last word is the context, `minibuild build DIR`: a folder, an archive, or "
    "the address of one or of a git repository. Fetch gs://, s3:// and Azure's blobs first",
    "--context-sub-path": "`minibuild build URL#BRANCH:FOLDER` of a git repository; of an archive, "
    "unpack it first",
    "--custom-platform": _PLATFORM,
    "--customPlatform": _PLATFORM,
    "--destination": "`-t NAME --push`",
    "--digest-file": f"{_METADATA}; `--iidfile FILE` has the image id",
    "--dockerfile": "`-f FILE`",
    "--force": "leave it out: a build does not touch the files of the machine that it runs on",
    "--force-build-metadata": "leave it out: ENV, LABEL and the like never make layers",
    "--git": "write it into the address: `minibuild build URL#BRANCH`",
    "--ignore-path": _MOUNTS,
    "--ignore-var-run": _MOUNTS,
    "--image-download-retry": _RETRIES,
    "--image-fs-extract-retry": _RETRIES,
    "--image-name-tag-with-digest-file": _METADATA,
    "--image-name-with-digest-file": _METADATA,
    "--insecure": _INSECURE,
    "--insecure-pull": _INSECURE,
    "--insecure-registry": f"{_SETTINGS}`insecure = true`",
    "--kaniko-dir": "`--root DIR`, or MINIBUILD_ROOT, is where all state is",
    "--log-format": "`--progress auto|tty|plain|rawjson|quiet`",
    "--log-timestamp": "`--progress=plain` has the seconds of each line, rawjson the times",
    "--no-push": "leave it out: without `--push` nothing is pushed",
    "--no-push-cache": "leave it out: without `--cache-to` no cache is pushed",
    "--oci-layout-path": "`-o type=oci,dest=DIR,tar=false`",
    "--push-ignore-immutable-tag-errors": "push under a tag that is not there yet",
    "--push-retry": _RETRIES,
    "--registry-certificate": f'{_SETTINGS}`ca = "FILE"`',
    "--registry-client-cert": _CERTIFICATES,
    "--registry-map": f'{_SETTINGS}`location = "HOST/PATH"`, or mirrors',
    "--registry-mirror": f'{_SETTINGS}`mirrors = ["HOST"]`',
    "--reproducible": f"{_REWRITE}. `minibuild verify` shows what differs",
    "--single-snapshot": "`--squash` makes one layer of all above the base",
    "--skip-default-registry-fallback": f'{_SETTINGS}`location = "HOST"`, not mirrors',
    "--skip-push-permission-check": "leave it out: nothing is asked before the push",
    "--skip-tls-verify": _INSECURE,
    "--skip-tls-verify-pull": _INSECURE,
    "--skip-tls-verify-registry": f"{_SETTINGS}`insecure = true`",
    "--skip-unused-stages": "leave it out: stages that the target does not need are never built",
    "--snapshot-mode": _NO_SNAPSHOT,
    "--snapshotMode": _NO_SNAPSHOT,
    "--tar-path": "`-o type=docker,dest=FILE`",
    "--tarPath": "`-o type=docker,dest=FILE`",
    "--use-new-run": _NO_SNAPSHOT,
    "--verbosity": "`--progress=plain` shows all; `-D` the traceback of an error",
    "--whitelist-var-run": _MOUNTS,
    "-b": _CONTEXT,
    "-d": "`-t NAME --push`",
}

_BUILDAH = {
    "--all-platforms": "`--platform OS/ARCH,OS/ARCH` names them",
    "--arch": _PLATFORM,
    "--build-arg-file": "`--build-arg K=V` for each; K alone takes it from the environment",
    "--cache-ttl": "`minibuild prune --keep-duration TIME` drops what was unused for so long",
    "--cap-add": _CAPS,
    "--cap-drop": _CAPS,
    "--cert-dir": _CERTIFICATES,
    "--cgroup-parent": _DOCKER["--cgroup-parent"],
    "--cgroupns": _SANDBOX,
    "--compat-volumes": "leave it out: what a RUN writes below a VOLUME is kept, as with BuildKit",
    "--compression-format": _COMPRESSION,
    "--compression-level": _COMPRESSION,
    "--cpp-flag": "run the preprocessor first: `minibuild build -f <(cpp -E FILE) DIR`",
    "--created-annotation": "`--annotation org.opencontainers.image.created=TIME` sets one",
    "--cw": "images for confidential virtual machines cannot be made here",
    "--decryption-key": "encrypted images cannot be read here",
    "--device": "`RUN --security=insecure`, with `--allow security.insecure`, may use devices",
    "--disable-compression": "`-o type=image,compression=uncompressed`",
    "--dns": _DNS,
    "--dns-option": _DNS,
    "--dns-search": _DNS,
    "--env": "ENV in the Dockerfile, or `minibuild image config --env K=V` on the image",
    "--force-compression": "`-o type=image,force-compression=true`",
    "--from": "`--build-context NAME=docker-image://REF` is another base in place of NAME",
    "--group-add": "leave it out: a step has the groups that /etc/group gives its user",
    "--hooks-dir": _NO_RUNTIME,
    "--http-proxy": "`--build-arg HTTP_PROXY=URL` gives it to each RUN, and not to the image",
    "--identity-label": "leave it out: no such label is added",
    "--ignorefile": "name it FILE.dockerignore, beside the Dockerfile FILE",
    "--iidfile-raw": "`--iidfile FILE`",
    "--inherit-annotations": "leave it out: annotations of the base are never inherited",
    "--inherit-labels": "`minibuild image config --unset-label K` removes one of the base",
    "--ipc": _SANDBOX,
    "--isolation": _DOCKER["--isolation"],
    "--layer-label": "`--label K=V` is for the image; layers have none",
    "--layers": _CACHED,
    "--logfile": _LOG,
    "--logsplit": _LOG,
    "--manifest": "`-t NAME --platform OS/ARCH,OS/ARCH` makes an index; `minibuild image index` "
    "makes one of images",
    "--mount": _VOLUME,
    "--no-hostname": _HOST_FILES,
    "--no-hosts": _HOST_FILES,
    "--omit-history": "leave it out: an image always has its history",
    "--os": _PLATFORM,
    "--os-feature": _OS_VERSION,
    "--os-version": _OS_VERSION,
    "--pid": _SANDBOX,
    "--retry": _RETRIES,
    "--retry-delay": _RETRIES,
    "--rewrite-timestamp": "`-o type=image,rewrite-timestamp=true`",
    "--runtime": _NO_RUNTIME,
    "--runtime-flag": _NO_RUNTIME,
    "--save-stages": "`--target STAGE -t NAME` for each stage",
    "--sbom-image-output": _SBOM,
    "--sbom-image-purl-output": _SBOM,
    "--sbom-merge-strategy": _SBOM,
    "--sbom-output": _SBOM,
    "--sbom-purl-output": _SBOM,
    "--sbom-scanner-command": _SBOM,
    "--sbom-scanner-image": _SBOM,
    "--security-opt": "`RUN --security=insecure`, with `--allow security.insecure`, confines less",
    "--sign-by": "sign what was pushed with a tool for that, such as cosign",
    "--skip-unused-stages": _KANIKO["--skip-unused-stages"],
    "--source-date-epoch": _EPOCH,
    "--source-policy-file": "`--build-context NAME=docker-image://REF@DIGEST` pins a base",
    "--squash-all": "`minibuild image flatten IMAGE NAME` makes one layer of all",
    "--stage-labels": "`--label K=V`: those of the last stage are the image's",
    "--stdin": "use a heredoc, `RUN <<EOF`: a RUN has no standard input",
    "--timestamp": _REWRITE,
    "--unsetannotation": "`minibuild image config --annotation K=` empties it",
    "--unsetenv": "`minibuild image config --unset-env K` on the image",
    "--unsetlabel": "`minibuild image config --unset-label K` on the image",
    "--userns": _USERNS,
    "--userns-gid-map": _USERNS,
    "--userns-gid-map-group": _USERNS,
    "--userns-uid-map": _USERNS,
    "--userns-uid-map-user": _USERNS,
    "--uts": _SANDBOX,
    "--variant": _PLATFORM,
    "--volume": _VOLUME,
    "-v": _VOLUME,
}

TOOLS: Mapping[str, Mapping[str, str]] = {
    "buildah": _BUILDAH,
    "kaniko": _KANIKO,
    "docker": _DOCKER,
}
"""The flags of builds by tool."""

_BUILD = {flag: instead for tool in TOOLS.values() for flag, instead in tool.items()}
_ONE_BY_ONE = "name the images one by one"
_BOTH = "`minibuild login` to each registry; `--creds USER:PASSWORD` if it is one"
_REGISTRY = {
    "--all-tags": _ONE_BY_ONE,
    "-a": _ONE_BY_ONE,
    **{
        name: _BUILDAH[name]
        for name in "--arch --cert-dir --decryption-key --os --retry --sign-by --variant".split()
    },
    "--dest-creds": _BOTH,
    "--digestfile": "`-q` prints the digest: `minibuild push -q NAME >FILE`",
    "--src-creds": _BOTH,
}
_FILTER = "`minibuild images NAME`, or `--format json` for a script to choose from"

_ONE_STEP = "`minibuild run` runs one command, with the files of the image and nothing else"
_RUN = {
    name: _ONE_STEP
    for name in "--detach -d --mount --name --publish -p --restart --volume -v".split()
}

FOREIGN: Mapping[str, Mapping[str, str]] = {
    "build": _BUILD,
    "verify": _BUILD,
    "run": _RUN,
    "image pull": _REGISTRY,
    "image push": _REGISTRY,
    "image copy": _REGISTRY,
    "image ls": {
        "--filter": _FILTER,
        "-f": _FILTER,
        "--no-trunc": "`--digests` shows whole digests",
    },
    "login": {"--cert-dir": _CERTIFICATES},
    "logout": {"--all": "name each registry", "-a": "name each registry"},
}
"""By command, then by flag."""
