"""The documentation: its commands exist, its settings parse, its snippets run as described."""

import re
import runpy
import shlex
from pathlib import Path

import psycopg
import pytest
import typer

from batch.cli import app
from fixed import by_fixed_arithmetic, program

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

SHOP = """
    CREATE TABLE reviews (customer_id int, film_id int, stars int, created_at timestamptz);
    CREATE TABLE films (id int, title text, genres text[]);
    INSERT INTO films SELECT n, 'Film ' || n, ARRAY['Drama', 'Crime'] FROM generate_series(1, 20) n;
    INSERT INTO reviews SELECT user_id, film_id, 1 + (user_id * film_id) % 5, now() - interval '1 h'
    FROM generate_series(40, 60) user_id, generate_series(1, 12) film_id;
"""
"""Tables as the pages on `ingest.query` take them to be."""


def blocks(kind: str) -> list[tuple[str, str]]:
    """Every fenced block of a kind, with its page."""
    return [
        (page.name, found)
        for page in PAGES
        for found in re.findall(rf"```{kind}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    ]


def commands() -> list[list[str]]:
    """Every `recbatch ...` in a shell block or between backticks, as words."""
    lines = [
        line
        for _, block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("recbatch ")
    ]
    for page in PAGES:
        lines += re.findall(r"`(recbatch [^`]*)`", page.read_text(encoding="utf-8"))
    return [shlex.split(line.split("#")[0]) for line in lines]


def require_command(words: list[str]) -> None:
    """Fail unless the program has this command with these options."""
    command = typer.main.get_command(app)
    rest = words[1:]
    while rest and hasattr(command, "commands"):
        if rest[0].startswith("-"):
            takes_value = {
                name: not getattr(option, "is_flag", False)
                for option in command.params
                for name in option.opts
            }
            assert rest[0] in takes_value, words
            rest = rest[1 + takes_value[rest[0]] :]
            continue
        has_arguments = any(part.param_type_name == "argument" for part in command.params)
        if has_arguments and rest[0] not in command.commands:
            break
        assert rest[0].rstrip(",") in command.commands, words
        command = command.commands[rest.pop(0).rstrip(",")]
    known = {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {word for word in rest if word.startswith("-")} <= known, words


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_exists(words: list[str]) -> None:
    """Each command that is written down, and each of its options, is one that the program has."""
    require_command(words)


def test_every_command_is_in_the_readme() -> None:
    """The README names every command that the program has."""
    command = typer.main.get_command(app)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in command.commands:  # type: ignore[attr-defined]
        assert re.search(rf"`(recbatch )?{name}\b", text) or re.search(
            rf"recbatch .*{name}\b", text
        ), name


def test_every_command_of_make_exists() -> None:
    """The README's two commands are targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(
        r"^make (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.M
    ):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_links_lead_somewhere() -> None:
    """Each link within the documentation names a file that is there."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            path, _, part = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), (page.name, target)
            heading = part.replace("-", "[ -]")
            assert not part or re.search(rf"^#+ {heading}\W*$", linked.read_text().lower(), re.M), (
                page.name,
                target,
            )


@pytest.mark.parametrize("page", ["README.md", "docs/comparison.md"])
def test_figures_are_those_that_were_measured(page: str) -> None:
    """Every figure that a page gives of this project and its peers stands in docs/quality.md."""
    measured = set(
        re.findall(r"0\.\d{3}\b", (ROOT / "docs" / "quality.md").read_text(encoding="utf-8"))
    )
    told = set(re.findall(r"0\.\d{3}\b", (ROOT / page).read_text(encoding="utf-8")))
    assert len(told) > 5
    assert told <= measured


def test_the_reference_is_what_the_program_has() -> None:
    """The reference page is what `make reference` makes of this version, and complete."""
    made = runpy.run_path(str(ROOT / "docs" / "reference.py"))["page"]()
    assert made == (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), (
        "run 'make reference'"
    )
    for part in ("Settings", "Views", "Tables"):
        assert not re.search(
            r"\|\s+\|$", made.partition(f"## {part}\n")[2].partition("\n## ")[0], re.M
        ), part


@pytest.mark.promise("E6")
def test_the_container_runs_as_nobody_in_particular() -> None:
    """The image runs the program directly, as a number without a name."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert 'ENTRYPOINT ["recbatch"]' in lines
    assert "USER 10001:10001" in lines
    assert lines.index("USER 10001:10001") > max(
        n for n, line in enumerate(lines) if line.startswith("RUN")
    )


@pytest.mark.parametrize("page", ["README.md", "ingest.md"])
def test_ratings_in_tables(page: str, tmp_path: Path, postgres_url: str) -> None:
    """The documented settings and commands lead from tables in Postgres to lists beside them."""
    [settings] = [text for name, text in blocks("yaml") if name == page and "films_query" in text]
    [shell] = [text for name, text in blocks("sh") if name == page and "ingest --dry-run" in text]
    (tmp_path / "config.yaml").write_text(settings)
    environ = {"RECBATCH_DATABASE__URL": postgres_url}
    with pytest.MonkeyPatch.context() as patch, psycopg.connect(postgres_url) as connection:
        by_fixed_arithmetic(patch)
        connection.execute(SHOP)
        connection.commit()
        before = program(tmp_path, "ingest", "--dry-run", **environ)
        assert "42 " in before.stdout, before.stderr
        assert program(tmp_path, "db", "upgrade", **environ).returncode == 0
        for line in shell.splitlines():
            done = program(tmp_path, *shlex.split(line.split("#")[0])[1:], **environ)
            assert done.returncode == 0, line + done.stderr
            assert "rows = " in done.stdout or "already ingested" in done.stdout
        if page == "README.md":
            [select] = [text for _, text in blocks("sql") if "-- beside your own tables" in text]
            connection.execute("SET search_path TO recbatch")
            listed = connection.execute(select).fetchall()
            assert [rank for rank, _ in listed] == [1, 2, 3, 4, 5]
            assert all(title.startswith("Film ") for _, title in listed)
