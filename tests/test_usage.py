"""The command line in use: typos, narrow and dumb terminals, closed pipes, Tab, scripts."""

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
    """The words of each command, and the command itself."""
    root: Any = typer.main.get_command(app)
    for name, item in root.commands.items():
        inner = getattr(item, "commands", {})
        if item.params or not inner:
            yield name, item
        if inner:
            yield from ((f"{name} {word}", command) for word, command in inner.items())


def shell(script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a real bash, with this checkout's program."""
    return subprocess.run(
        ["bash", "--norc", "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environ,
        check=False,
        capture_output=True,
        text=True,
    )


def first_user(database: Database) -> str:
    [(user,)] = rows(database, "SELECT user_key FROM users ORDER BY user_id LIMIT 1")
    return str(user)


def first_film(database: Database) -> str:
    [(film,)] = rows(database, "SELECT movie_key FROM movies ORDER BY movie_id LIMIT 1")
    return str(film)


def test_every_command_but_the_demo_has_json(capsys: pytest.CaptureFixture[str]) -> None:
    """All but `demo` have --json and are in docs/running.md; all have an example in --help."""
    page = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    table = page.partition("## For scripts")[2].partition("\n## ")[0]
    documented = set()
    for row in re.findall(r"^\| (`.*?) \|", table, re.M):
        names = re.findall(r"`(\w[^`]*)`", row)
        documented |= {re.sub(r" --.*", "", name) for name in names}
    commands = dict(every_command())
    with_json = {
        name
        for name, item in commands.items()
        if any("--json" in option.opts for option in item.params)
    }
    assert commands.keys() - with_json == {"demo"}
    assert documented == with_json
    for name in commands:
        assert command(*name.split(), "--help") == 0
        text = capsys.readouterr().out
        assert f"Example: recbatch {name}" in text
        assert not re.search(r"<bool>|%Y", text), text


@pytest.mark.usefixtures("nights")
def test_json_of_every_change(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that changes something prints one JSON value, the same on both databases."""
    [(user,), (other,)] = rows(database, "SELECT user_key FROM users ORDER BY user_id LIMIT 2")
    film = first_film(database)

    def result(*arguments: str) -> Any:
        capsys.readouterr()
        assert command(*arguments, "--json") == 0
        return json.loads(capsys.readouterr().out)

    assert command("-q", "run") == 0
    assert result("rollback") == {"run_id": 1, "spare": 15}
    assert result("publish", "2") == {"run_id": 2, "spare": 15}
    assert result("purge") == {"purged": []}
    added = result("filter", "add", film, "--user", user)
    assert added == {"filter_id": 1, "movie_key": film, "user_key": user}
    assert result("filter", "remove", "1") == {"filter_id": 1}
    upgraded = {"database": database.label, "schema_version": schema.HEAD}
    assert result("db", "upgrade") == upgraded
    forgotten = result("forget", other)
    assert (forgotten["user_key"], forgotten["files"]) == (other, 2)
    assert forgotten["ratings"] > 0
    page = str(tmp_path / "x.html")
    assert result("report", "-o", page) == {"file": page}
    if database.file:
        copy = tmp_path / "copy.db"
        copied = result("backup", str(copy))
        assert copied == {"file": str(copy), "bytes": copy.stat().st_size}
    nights = result("schedule", "--next", "2")
    assert [night.keys() for night in nights] == [{"due", "logical_date"}] * 2
    sample = result("sample-data", str(tmp_path / "data"), "--users", "4", "--films", "9")
    assert sample["films"] == 9
    assert command("schedule", "--json") == 2


WRONG_USE = {
    "tpo": "no such command 'tpo'. Did you mean 'top'?; see recbatch --help",
    "top": "missing argument 'USER'; see recbatch top --help",
    "runs --jsn": ("no such option: --jsn (Possible options: --json); see recbatch runs --help"),
    "runs -n 0": ("invalid value for '-n': must be 1 or more; it is '0'; see recbatch runs --help"),
    "db upgrad": "no such command 'upgrad'. Did you mean 'upgrade'?; see recbatch db --help",
}


@pytest.mark.parametrize(("arguments", "message"), WRONG_USE.items())
def test_wrong_use_is_one_line(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command line that makes no sense is exit 2 and one line, which names the right help."""
    assert command(*arguments.split()) == 2
    assert capsys.readouterr() == ("", f"recbatch: {message}\n")


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`recbatch` alone shows the help and exits 2, with no empty error below it."""
    assert command() == 2
    assert "Recompute everything" in capsys.readouterr().out
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("nights")
def test_an_unknown_name_gets_suggestions(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown user or film is exit 2 with similar names: a typo, a part, another case."""
    names = ["Ruth Novak", "Ruth Lind", "Rosa 100%"]
    titles = ["Matrix, The (1999)", "Speed (1994)"]
    users = [{"user_id": 9000 + n, "user_key": name} for n, name in enumerate(names)]
    films = [
        {"movie_id": 9000 + n, "movie_key": f"{9000 + n}", "title": title}
        for n, title in enumerate(titles)
    ]
    with database.writer.begin() as connection:
        connection.execute(insert(schema.users), users)
        connection.execute(insert(schema.movies), films)

    def error(*arguments: str) -> str:
        assert command(*arguments) == 2
        return capsys.readouterr().err

    capsys.readouterr()
    no_user = "recbatch: no user has the key or name"
    assert error("forget", "Rut Novak") == f"{no_user} 'Rut Novak'; did you mean 'Ruth Novak'?\n"
    assert "did you mean 'Ruth Lind' or 'Ruth Novak'?" in error("forget", "ruth")
    assert "did you mean 'Rosa 100%'?" in error("forget", "Rosa 10%")
    assert error("forget", "987654") == f"{no_user} '987654'\n"
    assert error("forget", "Zzyzx") == f"{no_user} 'Zzyzx'\n"
    matrix = "did you mean 'Matrix, The (1999)'?"
    assert matrix in error("filter", "add", "matrix")
    assert matrix in error("explain", "Ruth Novak", "Matirx, The (1999)")
    assert "did you mean 'Speed (1994)'?" in error("filter", "add", "Sped")
    assert command("top", "Ruth Novac") == 0
    suggestion = "'Ruth Novac'; did you mean 'Ruth Novak' or 'Ruth Lind'?"
    assert f"{suggestion}; this is what is popular" in capsys.readouterr().err


@pytest.mark.usefixtures("nights")
@sqlite_only
def test_a_closed_pipe_is_no_error(database: Database) -> None:
    """A closed pipe ends text, JSON and help without a message, with 141 as for SIGPIPE."""
    for arguments in (f"top '{first_user(database)}'", "runs --json", "top --help"):
        done = shell(f"{PROGRAM} {arguments} | true; echo ${{PIPESTATUS[0]}}")
        assert (done.stdout, done.stderr) == ("141\n", ""), arguments
    done = shell(f"{PROGRAM} runs | cat; echo ${{PIPESTATUS[0]}}")
    assert done.stdout.endswith("current\n\n0\n")


@pytest.mark.usefixtures("nights")
@sqlite_only
def test_tables_fit_any_terminal(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables fit 40 and 80 columns whatever the titles; without a terminal there is no colour."""
    long_title = schema.movies.c.title + " and a very long title" * 5
    with database.writer.begin() as connection:
        connection.execute(update(schema.movies).values(title=long_title))
    reason = "a reason that is long " * 5
    assert command("filter", "add", first_film(database), "--why", reason) == 0
    assert command("-q", "run") == 0
    capsys.readouterr()
    commands = (
        ["top", first_user(database), "--model", "blend"],
        ["runs"],
        ["diff", "1", "2"],
        ["filter", "list"],
        ["run", "--help"],
    )
    title = re.compile(r"\w+ for |Metrics, |Films that|Lists of")
    for width in (40, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        for arguments in commands:
            assert command(*arguments) == 0
            printed = capsys.readouterr().out
            assert "\x1b" not in printed
            table = [line for line in printed.splitlines() if not title.match(line)]
            assert max(map(len, table)) <= width, (arguments, printed)


@pytest.mark.usefixtures("nights")
@sqlite_only
def test_colours_can_be_switched_off(database: Database) -> None:
    """NO_COLOR removes colours, TERM=dumb all codes of a terminal; ASCII is enough."""
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
    """By the script of --show-completion, bash completes commands, options, models and runs."""
    program = tmp_path / "bin" / "recbatch"
    program.parent.mkdir()
    main = "from batch.cli import main; main()"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{main}' \"$@\"\n")
    program.chmod(0o755)
    script = """
        source <(_RECBATCH_COMPLETE=source_bash recbatch)
        try() {
            COMP_WORDS=("$@")
            COMP_CWORD=$(($# - 1))
            _recbatch_completion recbatch
            echo "${COMPREPLY[*]}"
        }
        complete -p recbatch
        try recbatch rol
        try recbatch run --dry
        try recbatch top ann --model i
        try recbatch publish ""
        try recbatch ingest undo ""
        RECBATCH_DATABASE__URL=sqlite:///nowhere.db try recbatch publish ""
    """
    done = shell(script, PATH=f"{program.parent}:{os.environ['PATH']}")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -o default -F _recbatch_completion recbatch",
        "rollback",
        "--dry-run",
        "item_item",
        "1",
        "2 1",
        "",
    ]


@pytest.mark.usefixtures("nights")
def test_a_hidden_film_is_named(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """`top` names films of the list that a filter hides, which explains the missing ranks."""
    listed = "SELECT user_key, movie_key, title FROM current_recommendations ORDER BY 1, 2"
    user, film, title = rows(database, listed)[0]
    assert command("filter", "add", film, "--user", user) == 0
    capsys.readouterr()
    assert command("top", user, "--model", "blend") == 0
    printed = capsys.readouterr()
    remedy = "'recbatch filter list' shows from whom and until when"
    assert f"a filter hides {title}; {remedy}" in printed.err
    assert title not in printed.out
