"""The house itself: what its modules say they do, and what must not stand in it."""

import ast
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CUDA = ("cuda-", "nvidia-", "triton")
"""What only one build of torch asks for, and the image takes as that build says."""
MODULES = sorted((ROOT / "batch").rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_opens_with_what_becomes_of_what(module: Path) -> None:
    """The first line of each module is a docstring of one line that fits the page."""
    first = module.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith('"""')
    assert first.endswith('"""') or first.endswith(".")
    assert len(first) <= 120


def test_every_test_states_its_promise() -> None:
    """Each test has a docstring, and it is one sentence."""
    for file in (ROOT / "tests").glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                told = ast.get_docstring(node)
                assert told, f"{file.name}: {node.name} does not say what it promises"
                assert told.rstrip().endswith("."), f"{file.name}: {node.name}"


@pytest.mark.promise("E4")
def test_nothing_is_ever_unpickled() -> None:
    """No module names pickle, or torch's own loader, which uses it."""
    for module in MODULES:
        text = module.read_text(encoding="utf-8")
        assert "torch.load" not in text, module
        assert "import pickle" not in text, module


@pytest.mark.promise("E7")
def test_every_dependency_is_pinned() -> None:
    """constraints.txt has one exact version of each requirement in pyproject.toml."""
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    pinned = {name.lower() for name in pins}
    for requirement in asked:
        name = requirement.split(">=")[0].split("==")[0].split("[")[0].lower()
        assert name in pinned, requirement
    assert pins["torch"] == "2.13.0"


def locked(name: str) -> dict[str, list[str]]:
    """What a lock file names, `package==version`, and the hashes of each."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "locks" / name).read_text().splitlines():
        if line.startswith(" "):
            found[next(reversed(found))].append(line)
        else:
            found[line.partition(" ")[0]] = []
    return found


@pytest.mark.promise("E7")
def test_what_the_image_installs_is_known_by_hash() -> None:
    """Each package of the program, except torch, is locked by version and hash."""
    pins = {
        line.lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    image, build = locked("image.txt"), locked("build.txt")
    assert all(hashes for lock in (image, build) for hashes in lock.values())
    assert set(image) - pins <= {"colorama==0.4.6"}  # that one is for Windows only
    names = {package.partition("==")[0] for package in image}
    wanted, asked = {"recbatch"}, [*requires("recbatch", "postgres")]
    while asked:
        name = asked.pop()
        if name not in wanted:
            wanted.add(name)
            asked += requires(name)
    assert {name for name in wanted if not name.startswith(CUDA)} - {"recbatch", "torch"} <= names
    assert "hatchling" in {package.partition("==")[0] for package in build}


def requires(name: str, extra: str = "") -> set[str]:
    """The packages that an installed one asks for on this machine."""
    asked = [Requirement(text) for text in distribution(name).requires or []]
    return {
        canonicalize_name(each.name)
        for each in asked
        if not each.marker or each.marker.evaluate({"extra": extra})
    }


def test_the_pins_are_used_everywhere() -> None:
    """The Makefile installs by constraints.txt, the Dockerfile by hash; CI runs the Makefile."""
    assert "--constraint constraints.txt" in (ROOT / "Makefile").read_text()
    commands = (
        (ROOT / "Dockerfile").read_text().replace("\\\n", " ").replace("&&", "\n").splitlines()
    )
    for install in (command for command in commands if "pip install" in command):
        known = "--require-hashes" in install or "--no-deps /tmp/wheel" in install
        assert known or install.split()[-1] == "torch", install
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("make test")
