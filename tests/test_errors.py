"""Mistakes in settings and arguments: one line in plain words that leads on, and a code."""

import os
import re
import resource
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from pydantic import BaseModel
from sqlalchemy import make_url

from batch.config import Config, ConfigError, load_config
from fixed import command, program
from processes import ended, in_child

PYDANTIC = re.compile(
    r"Input|should|Field required|Value error|instance of|pattern|<class|parse|\bvalid |tuple"
)
"""What pydantic says of values, and this program does not."""
WRONG: list[Any] = [
    *("", "x", "-1", "0", "1e99", "nan", "true", "[]", "[1]", "[a, b, c, d]", "{a: 1}", "~"),
    *("999999999999999999999", "[[1]]", "1.5", '"quoted"', "2026-13-01"),
]
URL = "RECBATCH_DATABASE__URL"


def _settings(section: type[BaseModel], before: str = "RECBATCH_") -> list[str]:
    """The variables of all sections and settings."""
    names = []
    for name, field in section.model_fields.items():
        variable = f"{before}{field.alias or name}".upper()
        names.append(variable)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _settings(field.annotation, f"{variable}__")
    return names


ABOUT_TWO = (
    "warn_after_hours must not be more than error_after_hours",
    "url and job_url must be two",
)
"""Messages about two settings together."""


@pytest.mark.promise("E9")
@pytest.mark.parametrize("variable", sorted({*_settings(Config)} - {"RECBATCH_PRESET"}))
def test_no_setting_is_refused_in_pydantics_words(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever value a setting has, it is taken, or refused in a line that names the setting."""
    monkeypatch.chdir(tmp_path)  # where no file is read each time
    lines: list[str] = []
    for value in WRONG:
        try:
            load_config(None, {variable: value})
        except ConfigError as error:
            lines += error.lines
    for line in lines:
        about_two = any(text in line for text in ABOUT_TWO)
        assert line.startswith(f"{variable}: ") or about_two, line
        assert not PYDANTIC.search(line), line
        assert "cannot be used" not in line, line


LINES = [
    # the setting that was meant
    ("runs", {"RECBATCH_PUBLISH_TOP_N": "3"}, "did you mean RECBATCH_PUBLISH__TOP_N?"),
    ("runs", {"RECBATCH_PUBLISHTOPN": "3"}, "did you mean RECBATCH_PUBLISH__TOP_N?"),
    ("runs", {"RECBATCH_TOP_N": "3"}, "did you mean RECBATCH_PUBLISH__TOP_N?"),
    ("runs", {"RECBATCH_DATABASE_URL_FILE": "x"}, "did you mean RECBATCH_DATABASE__URL_FILE?"),
    ("--config top.yaml runs", {}, "top.yaml: top_n: unknown setting; did you mean publish.top_n?"),
    # a value where a section must be
    ("--config url.yaml runs", {}, "url.yaml: database: is a section; write its settings into it"),
    ("--config list.yaml runs", {}, "as in 'publish: {top_n: ...}'"),
    ("runs", {"RECBATCH_DATABASE": "sqlite:///x.db"}, "such as RECBATCH_DATABASE__URL or"),
    # addresses
    ("runs", {f"{URL}_FILE": "quoted"}, f"{URL}_FILE: is in quotes; remove them"),
    ("runs", {URL: "'sqlite:///x.db'"}, f"{URL}: is in quotes; remove them"),
    ("runs", {f"{URL}_FILE": "two"}, f"{URL}_FILE: has several lines"),
    ("runs", {f"{URL}_FILE": "empty"}, f"{URL}_FILE: is empty; write sqlite:///FILE or"),
    ("runs", {f"{URL}_FILE": "marked"}, "no database at "),  # the mark is no part of the address
    ("runs", {URL: "postgresql://u:pw@h1:5432,h2:5433/d"}, "/NAME?host=HOST1:5432&host=HOST2:5432"),
    # options
    ("filter add x --from tomorrow", {}, "must be a time such as 2026-11-23 or 2026-11-23T02:30;"),
    ("filter add x --until 2026-13-01", {}, "such as 2026-11-23 or 2026-11-23T02:30; it is '2026"),
    ("run --as-of yesterday", {}, "must be as in 2026-11-23; it is 'yesterday'"),
    ("runs -n x", {}, "must be a whole number; it is 'x'"),
    ("runs -n 0", {}, "must be 1 or more"),
    ("runs --config x.yaml", {}, "--config stands before the command, as in 'recbatch --config"),
    ("ingest undo 1 --log-format text", {}, "--log-format stands before the command"),
    # paths
    ("contract taken", {}, "taken: a file is where a folder is needed; name another path"),
    ("sample-data taken/x", {}, "a file is where a folder is needed"),
    ("demo taken", {}, "taken: a file is where a folder is needed"),
]
"""Arguments, the environment, and what the line says; all exit 2."""


@pytest.mark.promise("E9")
@pytest.mark.parametrize(("arguments", "environ", "message"), LINES)
def test_a_mistake_is_one_line_that_leads_on(
    arguments: str, environ: dict[str, str], message: str, tmp_path: Path
) -> None:
    """A mistake in settings, options or paths is exit 2 and a line with what to write."""
    (tmp_path / "top.yaml").write_text("top_n: 3\n")
    (tmp_path / "url.yaml").write_text("database: sqlite:///x.db\n")
    (tmp_path / "list.yaml").write_text("publish: [5]\n")
    (tmp_path / "quoted").write_text('"sqlite:///x.db"\n')
    (tmp_path / "two").write_text("sqlite:///x.db\nsqlite:///y.db\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbfsqlite:///x.db\n")
    (tmp_path / "taken").write_text("a file")
    done = program(tmp_path, *arguments.split(), **environ)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not PYDANTIC.search(done.stderr)


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("E9")
@pytest.mark.parametrize(
    "arguments",
    [
        *("publish 99", "report 99", "diff 1 99", "top u1 --run 99", "filter remove 99"),
        *("ingest undo 99", "forget nobody", "explain nobody m1", "explain u1 nothing"),
        *("filter add nothing", "filter add m1 --user nobody", "top u1 --model nothing"),
    ],
)
def test_an_unknown_name_is_exit_2(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A run, filter, batch, user, film or model that does not exist is exit 2 and one line."""
    assert command(*arguments.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("recbatch: ")
    assert error.count("\n") == 1


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("E9")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("report -o .", "a folder is where a file is needed"),
        ("report -o nowhere/x.html", "nowhere/x.html: no such file or folder; make the folder"),
        ("backup taken", "taken is there already; name another file"),
        ("backup nowhere/x.db", "nowhere: no such folder; make it first, or name another path"),
    ],
)
def test_an_output_that_cannot_be_is_exit_2(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be written where it was named is exit 2, with what to name instead."""
    (tmp_path / "taken").write_text("a file")
    assert command(*arguments.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.promise("E9")
def test_quiet_is_accepted_after_a_command(tmp_path: Path) -> None:
    """--quiet and -q after a command are the same as before it."""
    (tmp_path / "x.csv").write_text("user,movie,rating\nAnn,Heat,4\n")
    for words in (("-q", "ingest", "x.csv"), ("ingest", "x.csv", "--quiet"), ("ingest", "-q")):
        done = program(tmp_path, *words, RECBATCH_INGEST__PATHS="x.csv")
        assert (done.returncode, done.stderr) == (0, ""), words
    assert program(tmp_path, "db", "upgrade", "-q").returncode == 0


@pytest.mark.promise("E9")
def test_an_unreachable_database_is_named(tmp_path: Path) -> None:
    """A server that cannot be reached is exit 1 and one line with its address, not the password."""
    url = "postgresql://me:canary@127.0.0.1:1/films"
    for words in (("runs",), ("run",), ("check",), ("db", "upgrade")):
        done = program(tmp_path, "-q", *words, **{URL: url})
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last.startswith("recbatch: no connection to postgresql://me:***@127.0.0.1:1/films: ")
        assert "check database.url" in last
        assert "canary" not in done.stderr


@pytest.mark.promise("E9")
def test_the_address_of_the_job_is_named_where_it_is_used(tmp_path: Path) -> None:
    """What writes names database.job_url and its address, what reads database.url and its own."""
    urls = {
        URL: "postgresql://me@127.0.0.1:1/readers",
        "RECBATCH_DATABASE__JOB_URL": "postgresql://me@127.0.0.1:1/writers",
    }
    for words, setting, name in (
        (("run",), "database.job_url", "writers"),
        (("db", "upgrade"), "database.job_url", "writers"),
        (("runs",), "database.url", "readers"),
    ):
        done = program(tmp_path, "-q", *words, **urls)
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert f"/{name}: " in last, last
        assert f"check {setting}, " in last, last


def test_a_sign_in_a_password_is_explained(postgres_server: str, tmp_path: Path) -> None:
    """A raw % in a password that is read as a code is refused with how to write it."""
    role = f"role_{uuid4().hex[:12]}"
    password = "a%41/b"  # noqa: S105
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    try:
        server = make_url(postgres_server)
        for written in (password, quote(password, safe="")):
            url = server.set(username=role, drivername="postgresql")
            text = url.render_as_string().replace(f"{role}@", f"{role}:{written}@")
            done = program(tmp_path, "runs", **{URL: text})
            # Where the server trusts its own machine, any password will do.
            assert "has no tables" in done.stderr or "written %25, %2F and %40" in done.stderr
    finally:
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(f"DROP ROLE {role}")


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("E9")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("contract kit", "kit/contract.json: the disk is full"),
        ("filter add m1", "recbatch.db; make room on its disk, or set database.url to a place"),
    ],
)
def test_a_full_disk_is_named(arguments: str, named: str) -> None:
    """Where no file can grow, the line names the file and what would help; exit 1."""
    read, write = os.pipe()  # a file could not take what the command says

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        return command(*arguments.split())

    code = ended(in_child(work, Path(f"/dev/fd/{write}")))
    os.close(write)
    with os.fdopen(read) as output:
        output_text = output.read()
    assert code == 1, output_text
    assert named in output_text


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("E9")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_full_disk_for_a_report_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A report that its disk has no room for is exit 1, and the line names its file."""
    assert command("report", "-o", "/dev/full") == 1
    assert "/dev/full: the disk is full (No space left on device)" in capsys.readouterr().err
