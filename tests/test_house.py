"""The house itself: what its modules say they do, and what must not stand in it."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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
    """constraints.txt has one exact version of everything that pyproject.toml asks for, torch among them."""
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    pinned = {name.lower() for name in pins}
    for requirement in asked:
        name = requirement.split(">=")[0].split("==")[0].split("[")[0].lower()
        assert name in pinned, requirement
    assert pins["torch"] == "2.13.0"


def test_the_pins_are_used_everywhere() -> None:
    """The Makefile and the Dockerfile install by constraints.txt, and CI runs the Makefile."""
    assert "--constraint constraints.txt" in (ROOT / "Makefile").read_text()
    assert "--constraint constraints.txt" in (ROOT / "Dockerfile").read_text()
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("make test")
