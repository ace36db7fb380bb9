"""A software bill of materials: the packages of an image as an SPDX document.

Comes in: the packages of a tree. Goes out: a predicate of the type https://spdx.dev/Document.
Nothing in it is random: the same packages at the same time are the same document.
Rules: the SPDX specification 2.3 in its JSON form, and package URLs (purl) as references.
"""

from typing import Any

from minibuild.attest.packages import FoundPackages, Package
from minibuild.attest.statement import Predicate
from minibuild.digest import digest_hex, digest_strings
from minibuild.startup.regex import regex

PREDICATE_TYPE = "https://spdx.dev/Document"

_ROOT = "SPDXRef-image"
_UNKNOWN = "NOASSERTION"
_EXPRESSION = regex(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*")


def sbom(found: FoundPackages, name: str, created: str, tool: str) -> Predicate:
    """The document about the image `name`. `created` is an RFC 3339 time, `tool` names us."""
    identity = digest_hex(digest_strings(("sbom", name, created, *map(repr, found.packages))))
    packages = [_package(number, package) for number, package in enumerate(found.packages)]
    root = {
        "SPDXID": _ROOT,
        "name": name,
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
        "comment": found.system,
    }
    relations = [
        {
            "spdxElementId": "SPDXRef-DOCUMENT",
            "relationshipType": "DESCRIBES",
            "relatedSpdxElement": _ROOT,
        }
    ]
    relations += [
        {
            "spdxElementId": _ROOT,
            "relationshipType": "CONTAINS",
            "relatedSpdxElement": package["SPDXID"],
        }
        for package in packages
    ]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:minibuild:sbom:{identity}",
        "creationInfo": {"created": created, "creators": [f"Tool: {tool}"]},
        "packages": [root, *packages],
        "relationships": relations,
    }
    return Predicate(PREDICATE_TYPE, document)


def _package(number: int, package: Package) -> dict[str, Any]:
    value: dict[str, Any] = {
        "SPDXID": f"SPDXRef-package-{number}",
        "name": f"{package.namespace}/{package.name}"
        if package.type == "npm" and package.namespace
        else package.name,
        "versionInfo": package.version,
        "supplier": _UNKNOWN,
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        # Only what reads like an expression; texts of licences found their way into this field.
        "licenseDeclared": package.licence if _EXPRESSION.fullmatch(package.licence) else _UNKNOWN,
        "copyrightText": _UNKNOWN,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": purl(package),
            }
        ],
    }
    if package.supplier:
        kind = "Person" if "<" in package.supplier else "Organization"
        value["supplier"] = f"{kind}: {package.supplier.replace('<', '(').replace('>', ')')}"
    if package.source and package.source != package.name:
        value["sourceInfo"] = f"built from the source package {package.source}"
    return value


def purl(package: Package) -> str:
    """The package as a package URL: `pkg:deb/debian/bash@5.2.15-2?arch=amd64`."""
    from urllib.parse import quote

    parts = [package.type, package.namespace, package.name]
    path = "/".join(quote(part, "") for part in parts if part)
    arch = f"?arch={quote(package.arch, '')}" if package.arch else ""
    return f"pkg:{path}@{quote(package.version, '')}{arch}"
