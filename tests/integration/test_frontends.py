"""A second frontend is an installed package, named by `# syntax=`, and nothing else."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import Builds
from tests.support.frontends import RECIPE, install_bakery

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]
SCRIPT = "#!/bin/sh\necho served\n"


@pytest.fixture
def bakery(builds: Builds, tmp_path: Path) -> Builds:
    """Builds with the example of the documentation on the path."""
    site = tmp_path / "site"
    site.mkdir()
    install_bakery(site)
    builds.cli.environment["PYTHONPATH"] = str(site)
    return builds


def recipe(project: Project, text: str = RECIPE, name: str = "Dockerfile") -> str:
    return project({name: text, "src/app.sh": SCRIPT, ".dockerignore": "*.log\n"})


def test_a_recipe_is_built(bakery: Builds, project: Project) -> None:
    """With the context, the base image and the labels; a second time nothing is done."""
    context = recipe(project)
    bakery.cli("build", "-t", "served", "--label", "by=me", context)
    assert bakery.cli("run", "served").stdout == "served\n"
    again = bakery.cli("build", "--progress=plain", context).stderr
    assert "CACHED" in again


def test_its_steps_and_errors_have_its_words(bakery: Builds, project: Project) -> None:
    context = recipe(project, RECIPE + "knead\n", "Recipe")
    failed = bakery.cli("build", "-f", f"{context}/Recipe", context, code=6)
    assert "unknown word in a recipe: knead" in failed.stderr
    assert "Recipe:6" in failed.stderr and ">>> knead" in failed.stderr
    unserved = recipe(project, RECIPE.replace("serve", "#"))
    assert "NothingServed" in bakery.cli("build", unserved).stderr


def test_what_it_does_not_answer(bakery: Builds, project: Project) -> None:
    context = recipe(project)
    said = bakery.cli("build", "--call=targets", context, code=2).stderr
    assert "the frontend bakery does not answer 'targets'" in said
    drawn = bakery.cli("build", "--call=graph", context).stdout
    assert "chmod +x /app.sh" in drawn  # the engine's own answer


def test_provenance_names_it(bakery: Builds, project: Project, tmp_path: Path) -> None:
    """And the language of the definition, which is kept with it."""
    out = tmp_path / "out"
    output = f"type=oci,tar=false,dest={out}"
    bakery.cli("build", "--provenance=mode=max", "-o", output, recipe(project))
    found = [
        json.loads(blob.read_text())
        for blob in (out / "blobs/sha256").iterdir()
        if b"slsa.dev/provenance" in blob.read_bytes() and b"predicate" in blob.read_bytes()
    ]
    (statement,) = [one for one in found if "predicate" in one]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["request"]["frontend"] == "bakery"
    kept = statement["predicate"]["runDetails"]["metadata"]["buildkit_metadata"]["source"]
    assert [info["language"] for info in kept["infos"]] == ["Recipe"]


def test_a_context_from_a_tar(bakery: Builds, project: Project, tmp_path: Path) -> None:
    """The frontend is known only once the context is here."""
    import tarfile

    context = recipe(project)
    archive = tmp_path / "context.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(context, ".")
    bakery.cli("build", "-t", "served", str(archive))
    assert bakery.cli("run", "served").stdout == "served\n"


def test_a_folder_called_frontends_disturbs_nothing(
    builds: Builds, project: Project, tmp_path: Path
) -> None:
    """Other programs have modules of this name; ours have names of their own."""
    trap = tmp_path / "trap"
    for name in ("frontends", "frontend", "dockerfile"):
        (trap / name).mkdir(parents=True)
        (trap / name / "__init__.py").write_text("raise SystemExit('not ours')\n")
    builds.cli.environment["PYTHONPATH"] = str(trap)
    builds.cli("build", project({"Dockerfile": "FROM busybox\nRUN true\n"}))
