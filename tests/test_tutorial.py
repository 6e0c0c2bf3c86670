"""docs/tutorial.md followed to the letter on the real data: each file, command and statement."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from batch.job import steps
from batch.ranking.evaluate import Evaluation
from batch.ratings import Ratings
from fixed import by_fixed_arithmetic, program

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
ADDRESS = "postgresql://USER:PASSWORD@HOST/NAME"
UNREAD = {"links.csv": "movieId,imdbId,tmdbId", "tags.csv": "userId,movieId,tag,timestamp"}
"""What the zip as downloaded holds besides."""
FITTED = re.compile(r"recbatch (run|top 1|explain|diff)\b|evaluate|app\.py")
"""Commands whose output depends on the last digits of linear algebra, which differ by machine."""


def blocks(text: str) -> Iterator[tuple[str | None, str, str]]:
    """(name of the file it is to be saved as, kind, content) of every fenced block, in order."""
    for saved, kind, content in re.findall(
        r"(?:as `([\w./]+)`[^\n`]*:\n\n)?```(\w+)\n(.*?)```", text, re.S
    ):
        yield saved or None, kind, content


def said(commands: str, folder: Path, environ: dict[str, str]) -> str:
    """What a block of commands prints: those of `recbatch` run in this process.

    Each process of its own would load what fits models, and evaluate the same ratings, again.
    """
    printed = ""
    for line in commands.splitlines():
        if line.startswith("export "):
            name, value = line.removeprefix("export ").split("=", 1)
            environ[name] = value
            continue
        if line.startswith("recbatch "):
            done = program(folder, *shlex.split(line)[1:], **environ)
            if "sample-data" in line:  # `evaluate` prints tables of one form for any size
                smaller = ("--users", "300", "--films", "500")
                done = program(folder, *shlex.split(line)[1:], *smaller, **environ)
        else:
            done = subprocess.run(
                shlex.split(line),
                cwd=folder,
                env=os.environ | environ,
                check=False,
                capture_output=True,
                text=True,
            )
        assert done.returncode == 0, line + done.stdout + done.stderr
        printed += done.stdout
    return printed


def shape(output: str, *, fitted: bool) -> list[str]:
    """Its lines without what may differ: times, and figures and films of fitted models."""
    lines = [line.rstrip() for line in output.strip().splitlines()]
    if not fitted:
        return [re.sub(r"\d{4}-\d\d-\d\d( \d\d:\d\d)?|\b\d\.\d h", "TIME", line) for line in lines]
    told = [
        _form(line) for line in lines if line and not line.startswith("  ")
    ]  # reasons and long titles are wrapped
    return [line for place, line in enumerate(told) if place == 0 or line != told[place - 1]]


def _form(line: str) -> str:
    """A line of a list or table -> its first word, another -> itself with its figures masked."""
    if row := re.match(
        r"(\d+)[. ] |(user_user|item_item|neural|blend|popular|popular_all|bias)  ", line
    ):
        return row[0]
    return re.sub(r"\s+", " ", re.sub(r"\d[\d,.:-]*", "0", line))


def measured_once(patch: pytest.MonkeyPatch) -> None:
    """Let nights of the same users and films share the first one's evaluation.

    Here these are two nights that differ by two ratings: of the second one's metrics only the form
    is compared, and its models are fitted on all its ratings.
    """
    evaluate, known = steps.evaluate, {}

    def evaluate_once(ratings: Ratings, *given: Any) -> Evaluation:
        shape = ratings.matrix.shape
        if shape not in known:
            known[shape] = evaluate(ratings, *given)
        return known[shape]

    patch.setattr(steps, "evaluate", evaluate_once)


def test_the_tutorial_is_what_happens(
    tmp_path: Path,
    movielens: Path,
    postgres_server: str,
    postgres_url: str,
) -> None:
    """The tutorial's commands, in an empty folder with MovieLens' zip, print what it shows."""
    work = tmp_path / "work"
    work.mkdir()
    unpacked = tmp_path / "zip" / movielens.name
    shutil.copytree(movielens, unpacked)
    for name, header in UNREAD.items():
        (unpacked / name).write_text(f"{header}\n")
    shutil.make_archive(str(work / "ml-latest-small"), "zip", unpacked.parent, unpacked.name)
    environ = {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "NO_COLOR": "1"}
    printed, commands, compared = "", "", 0
    with pytest.MonkeyPatch.context() as patch:
        measured_once(patch)
        for saved, kind, content in blocks(PAGE.read_text(encoding="utf-8")):
            if saved:
                (work / saved).parent.mkdir(exist_ok=True)
                (work / saved).write_text(content)
            elif kind == "sh" and "pip install" not in content:
                commands = content
                if ADDRESS in commands:
                    by_fixed_arithmetic(patch)  # this database is there to show where rows go
                    commands = commands.replace(ADDRESS, postgres_url)
                    with psycopg.connect(postgres_server, autocommit=True) as connection:
                        connection.execute("DROP ROLE IF EXISTS web")
                        connection.execute("CREATE ROLE web")
                printed = said(commands, work, environ)
            elif kind == "text":
                fitted = bool(FITTED.search(commands))
                shown = shape(printed, fitted=fitted)
                assert shown == shape(content, fitted=fitted), commands + printed
                compared += 1
            elif kind == "sql":
                with psycopg.connect(postgres_url) as connection:
                    found = connection.execute(content).fetchall()
                    assert [row[0] for row in found] == [1, 2, 3, 4, 5]
                    connection.execute("DROP OWNED BY web; DROP ROLE web")
    assert compared > 10
    assert (work / "report-1.html").stat().st_size > 10_000
