"""What is released: a wheel and an sdist, and a program that works where only the wheel is."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from machine_code import copy_beside

ROOT = Path(__file__).resolve().parents[1]
PACKED = ("batch", "migrations")
"""What of the repository a wheel holds, beside config.yaml."""
TESTED = (*PACKED, "benchmarks", "deploy", "docs", "locks", "tests")
BESIDE = (
    ".ci/run",
    "CHANGELOG.md",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "compose.yaml",
    "config.yaml",
    "constraints.txt",
    "pyproject.toml",
)


def build(source: Path, folder: Path) -> Path:
    """Build both from a source tree, without a network."""
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(words, cwd=source, check=True, capture_output=True)
    return folder


def files(*folders: str) -> set[str]:
    """Paths of the checkout's own files below these folders."""
    every = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in every if "__pycache__" not in path.parts}


def content(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel."""
    with ZipFile(wheel) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with this checkout's wheel and sdist."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs, and nothing of the packages it needs."""
    folder = tmp_path_factory.mktemp("installed")
    [wheel] = built.glob("*.whl")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *quiet, "--target", folder, wheel], check=True
    )
    copy_beside(folder / "batch")
    return folder


def test_the_wheel_holds_the_program_and_nothing_else(built: Path) -> None:
    """It has all of batch/, the migrations, settings and licence, and no test or benchmark."""
    packed = content(built / "recbatch-0.1.0-py3-none-any.whl")
    apart = {name for name in packed if name.startswith("recbatch-0.1.0.dist-info/")}
    inside = {name if name.startswith("batch/") else f"batch/{name}" for name in files(*PACKED)} | {
        "batch/config.yaml"
    }
    assert packed.keys() - apart == inside
    assert {
        "batch/py.typed",
        "batch/serve/report/page.html",
        "batch/serve/report/page.css",
    } <= inside
    assert packed["recbatch-0.1.0.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert packed["batch/config.yaml"] == (ROOT / "config.yaml").read_bytes()


def test_the_sdist_is_enough_to_test_and_to_build(built: Path, tmp_path: Path) -> None:
    """It has what `make test` reads, and its wheel is that of the checkout, to the byte."""
    with tarfile.open(built / "recbatch-0.1.0.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    source = tmp_path / "recbatch-0.1.0"
    wanted = files(*TESTED) | set(BESIDE)
    assert {name for name in wanted if not (source / name).is_file()} == set()
    [again] = build(source, tmp_path / "dist").glob("*.whl")
    [wheel] = built.glob("*.whl")
    assert content(again) == content(wheel)


def test_an_installed_program_needs_no_checkout(installed: Path, tmp_path: Path) -> None:
    """In an empty folder the installed command shows the demo, a list and a report."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("RECBATCH_")
    }
    environ = inherited | {"PYTHONPATH": str(installed)}

    def output_of(*words: str, at: Path = tmp_path) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=at,
            env=environ,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    asked = (
        "import batch, json; from batch.store.versions import migrations as m;"
        "print(json.dumps([batch.__file__, str(m())]))"
    )
    assert json.loads(output_of("-c", asked)) == [
        str(installed / "batch" / name) for name in ("__init__.py", "migrations")
    ]
    program, demo = str(installed / "bin" / "recbatch"), tmp_path / "demo"
    output_of(program, "sample-data", "demo", "--users", "60", "--films", "100")  # small: quick
    (demo / "config.yaml").write_text("")
    assert "run 1 is published" in output_of(program, "demo")
    user = (demo / "user_reviews.csv").read_text(encoding="utf-8").splitlines()[1].split(",")[1]
    answers = json.loads(output_of(program, "top", user, "--json", at=demo))
    assert {answer["model"]: len(answer["films"]) for answer in answers} == dict.fromkeys(
        ("blend", "item_item", "neural", "user_user"), 5
    )
    assert output_of(program, "report", at=demo) == "report-1.html\n"
    assert "</html>" in (demo / "report-1.html").read_text(encoding="utf-8")
    assert "is at schema version" in output_of(program, "db", "upgrade", at=demo)
