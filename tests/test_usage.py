"""The command line under people's hands: typos, narrow and dumb terminals, readers that leave, Tab, and scripts."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import insert, update

from batch.cli import app
from batch.store import schema
from batch.store.database import Database
from fixed import command
from tables import rows

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = f'"{sys.executable}" -m batch'
sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def every_command() -> Iterator[tuple[str, Any]]:
    """The words of each command, and what it takes."""
    root: Any = typer.main.get_command(app)
    for name, found in root.commands.items():
        inner = getattr(found, "commands", None)
        yield from (
            [(name, found)]
            if inner is None
            else [(f"{name} {word}", each) for word, each in inner.items()]
        )


def shell(script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a real bash, with this checkout's program."""
    environ = os.environ | {"PYTHONPATH": str(ROOT)} | environ
    words = ["bash", "--norc", "-c", script]
    return subprocess.run(words, env=environ, check=False, capture_output=True, text=True)


def test_every_command_that_tells_something_tells_scripts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All but `demo` know --json, the table in docs/running.md has each of them, and all have an example in --help."""
    page = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    table = page.partition("## For scripts")[2].partition("\n## ")[0]
    documented = {re.sub(r" --.*", "", name) for row in re.findall(r"^\| (`.*?) \|", table, re.M)
                  for name in re.findall(r"`(\w[^`]*)`", row)}  # fmt: skip
    knowing = {
        name
        for name, found in every_command()
        if any("--json" in option.opts for option in found.params)
    }
    assert {name for name, _ in every_command()} - knowing == {"demo"}
    assert documented == knowing
    for name, _ in every_command():
        assert command(*name.split(), "--help") == 0
        told = capsys.readouterr().out
        assert f"Example: recbatch {name}" in told
        assert not re.search(r"<bool>|%Y", told), told


@pytest.mark.usefixtures("nights")
def test_what_scripts_get(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--json gives one JSON value on stdout, the same on both databases, for every command that changes something."""
    [(user,), (other,)] = rows(database, "SELECT user_key FROM users ORDER BY user_id LIMIT 2")
    [(film,)] = rows(database, "SELECT movie_key FROM movies ORDER BY movie_id LIMIT 1")

    def told(*words: str) -> Any:
        capsys.readouterr()
        assert command(*words, "--json") == 0
        return json.loads(capsys.readouterr().out)

    assert command("-q", "run") == 0
    assert told("rollback") == {"run_id": 1}
    assert told("publish", "2") == {"run_id": 2}
    assert told("purge") == {"purged": []}
    assert told("filter", "add", film, "--user", user) == {
        "filter_id": 1,
        "movie_key": film,
        "user_key": user,
    }
    assert told("filter", "remove", "1") == {"filter_id": 1}
    label = database.label
    assert told("db", "upgrade") == {"database": label, "schema_version": schema.HEAD}
    gone = told("forget", other)
    assert (gone["user_key"], gone["ratings"] > 0, gone["files"]) == (other, True, 2)
    assert told("report", "-o", str(tmp_path / "x.html")) == {"file": str(tmp_path / "x.html")}
    if database.file:
        copied = told("backup", str(tmp_path / "copy.db"))
        assert copied == {
            "file": str(tmp_path / "copy.db"),
            "bytes": (tmp_path / "copy.db").stat().st_size,
        }
    assert [each.keys() for each in told("schedule", "--next", "2")] == [
        {"due", "logical_date"}
    ] * 2
    assert told("sample-data", str(tmp_path / "data"), "--users", "4", "--films", "9")["films"] == 9
    assert command("schedule", "--json") == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("tpo", "no such command 'tpo'. Did you mean 'top'?; see recbatch --help"),
        ("top", "missing argument 'USER'; see recbatch top --help"),
        (
            "runs --jsn",
            "no such option: --jsn (Possible options: --json); see recbatch runs --help",
        ),
        (
            "runs -n 0",
            "invalid value for '-n': Input should be greater than or equal to 1; see recbatch runs --help",
        ),
        ("db upgrad", "no such command 'upgrad'. Did you mean 'upgrade'?; see recbatch db --help"),
    ],
)
def test_wrong_use_is_one_line(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that cannot be understood is exit 2 and one line, which leads to the help that would."""
    assert command(*words.split()) == 2
    assert capsys.readouterr() == ("", f"recbatch: {told}\n")


def test_no_command_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """`recbatch` alone shows the help and exits 2, with no empty error below it."""
    assert command() == 2
    assert "Recompute everything" in capsys.readouterr().out
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("nights")
def test_names_that_are_almost_right(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown user or film is exit 2 with the names it may stand for: a slip, a part, another case; not a number."""
    with database.writer.begin() as connection:
        names = ["Ruth Novak", "Ruth Lind", "Rosa 100%"]
        connection.execute(
            insert(schema.users),
            [{"user_id": 9000 + n, "user_key": name} for n, name in enumerate(names)],
        )
        titles = ["Matrix, The (1999)", "Speed (1994)"]
        connection.execute(
            insert(schema.movies),
            [
                {"movie_id": 9000 + n, "movie_key": f"{9000 + n}", "title": title}
                for n, title in enumerate(titles)
            ],
        )

    def told(*words: str) -> str:
        assert command(*words) == 2
        return capsys.readouterr().err

    capsys.readouterr()
    assert (
        told("forget", "Rut Novak")
        == "recbatch: no user has the key or name 'Rut Novak'; did you mean 'Ruth Novak'?\n"
    )
    assert "did you mean 'Ruth Lind' or 'Ruth Novak'?" in told("forget", "ruth")
    assert "did you mean 'Rosa 100%'?" in told("forget", "Rosa 10%")
    assert told("forget", "987654") == "recbatch: no user has the key or name '987654'\n"
    assert told("forget", "Zzyzx") == "recbatch: no user has the key or name 'Zzyzx'\n"
    assert "did you mean 'Matrix, The (1999)'?" in told("filter", "add", "matrix")
    assert "did you mean 'Matrix, The (1999)'?" in told(
        "explain", "Ruth Novak", "Matirx, The (1999)"
    )
    assert "did you mean 'Speed (1994)'?" in told("filter", "add", "Sped")
    assert command("top", "Ruth Novac") == 0
    assert (
        "'Ruth Novac'; did you mean 'Ruth Novak' or 'Ruth Lind'?; this is what is popular"
        in capsys.readouterr().err
    )


@pytest.mark.usefixtures("nights")
@sqlite_only
def test_whoever_stops_reading_is_no_error(database: Database) -> None:
    """A closed pipe ends text, JSON and help in silence, with 141 as a shell has it for SIGPIPE."""
    [(user,)] = rows(database, "SELECT user_key FROM users ORDER BY user_id LIMIT 1")
    for words in (f"top '{user}'", "runs --json", "top --help"):
        done = shell(f"{PROGRAM} {words} | true; echo ${{PIPESTATUS[0]}}")
        assert (done.stdout, done.stderr) == ("141\n", ""), words
    done = shell(f"{PROGRAM} runs | cat; echo ${{PIPESTATUS[0]}}")
    assert done.stdout.endswith("current\n\n0\n")


@pytest.mark.usefixtures("nights")
@sqlite_only
def test_any_terminal_will_do(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables fit 40 and 80 columns whatever the titles, and without a terminal there is no colour."""
    with database.writer.begin() as connection:
        connection.execute(
            update(schema.movies).values(title=schema.movies.c.title + " and a very long title" * 5)
        )
    [(user,)] = rows(database, "SELECT user_key FROM users ORDER BY user_id LIMIT 1")
    [(film,)] = rows(database, "SELECT movie_key FROM movies ORDER BY movie_id LIMIT 1")
    assert command("filter", "add", film, "--why", "a reason that is long " * 5) == 0
    assert command("-q", "run") == 0
    capsys.readouterr()
    for width in (40, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        for words in (
            ["top", user, "--model", "blend"],
            ["runs"],
            ["diff", "1", "2"],
            ["filter", "list"],
            ["run", "--help"],
        ):
            assert command(*words) == 0
            told = capsys.readouterr().out
            assert "\x1b" not in told
            table = [
                line
                for line in told.splitlines()
                if not re.match(r"\w+ for |Metrics, |Films that|Lists of", line)
            ]
            assert max(map(len, table)) <= width, (words, told)


@pytest.mark.usefixtures("nights")
@sqlite_only
def test_a_terminal_that_wants_no_colour_gets_none(database: Database) -> None:
    """NO_COLOR leaves colours out, TERM=dumb all codes of a terminal; and ASCII is enough."""
    pty = f"script -qec '{PROGRAM} runs --help' /dev/null"
    assert "\x1b[" in shell(pty, TERM="xterm").stdout
    assert "\x1b[" not in shell(pty, TERM="dumb").stdout
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", shell(pty, TERM="xterm", NO_COLOR="1").stdout)
    plain = shell(
        f"{PROGRAM} runs --help",
        LC_ALL="C",
        PYTHONIOENCODING="ascii",
        PYTHONCOERCECLOCALE="0",
        PYTHONUTF8="0",
    )
    assert plain.stdout.isascii()
    assert "\\u" not in plain.stdout
    assert "Example: recbatch runs -n 5" in plain.stdout


@pytest.mark.usefixtures("nights")
@sqlite_only
def test_tab_completes_in_bash(tmp_path: Path) -> None:
    """The script of --show-completion makes a real bash complete commands, options, models and runs."""
    program = tmp_path / "bin" / "recbatch"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nexec {PROGRAM.replace(' -m batch', '')} -c 'from batch.cli import main; main()' \"$@\"\n"
    )
    program.chmod(0o755)
    script = """
        source <(_RECBATCH_COMPLETE=source_bash recbatch)
        try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _recbatch_completion recbatch; echo "${COMPREPLY[*]}"; }
        complete -p recbatch
        try recbatch rol
        try recbatch run --dry
        try recbatch top ann --model i
        try recbatch publish ""
        RECBATCH_DATABASE__URL=sqlite:///nowhere.db try recbatch publish ""
    """
    done = shell(script, PATH=f"{program.parent}:{os.environ['PATH']}")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -o default -F _recbatch_completion recbatch", "rollback", "--dry-run", "item_item", "1", ""
    ]  # fmt: skip


@pytest.mark.usefixtures("nights")
def test_a_hidden_film_is_told(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """`top` names films of the list that a filter hides by now, so that nobody looks for a missing rank."""
    user, film, title = rows(
        database, "SELECT user_key, movie_key, title FROM current_recommendations ORDER BY 1, 2"
    )[0]
    assert command("filter", "add", film, "--user", user) == 0
    capsys.readouterr()
    assert command("top", user, "--model", "blend") == 0
    told = capsys.readouterr()
    assert (
        f"a filter hides {title}; 'recbatch filter list' tells from whom and until when" in told.err
    )
    assert title not in told.out
