"""`recbatch export` and `query.frame`: the lists as a file, and as a table in memory."""

import csv
import gzip
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pandas
import pytest
from pyarrow import parquet
from sqlalchemy import text, update

from batch import query
from batch.files import replacing
from batch.models import PUBLISHED
from batch.query import Row
from batch.serve import export
from batch.store import schema
from batch.store.database import Database
from fixed import command
from processes import ended, in_child

ENDINGS = ("csv", "csv.gz", "jsonl", "jsonl.gz", "parquet")
MODELS = tuple(sorted(PUBLISHED))
STRANGE = [
    '=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "\t=1", "a,b", 'say "no"', '"', "two\nlines",
    "a\rb", "c\r\nd", " in spaces ", "Łukasz, 東京 🎬", "עברית", "NULL", "NA", "\\N", "'", "1.0",
    "\u2028line", "<b>", "",
]  # fmt: skip
"""Titles that a format, a program that reads it, or a spreadsheet could take for something else."""
TYPES = {
    "user_key": "str",
    "user_name": "str",
    "model": "str",
    "rank": "int64",
    "movie_key": "str",
    "title": "str",
    "score": "float64",
    "predicted_rating": "float64",
    "reason": "str",
    "run_id": "int64",
    "published_at": "datetime64[us, UTC]",
    "why": "str",
}
"""Types of the columns of a frame."""


@pytest.fixture
def listed(nights: object, database: Database) -> list[Row]:
    """A published night with strange titles and missing values; its rows, as `lists` gives them."""
    movies, users = schema.movies.c, schema.users.c
    with database.writer.begin() as connection:
        for number, title in enumerate(STRANGE):
            film = update(schema.movies).where(movies.movie_key == f"m{number}")
            connection.execute(film.values(title=title))
        connection.execute(update(schema.users).values(name=users.user_key + ' "é"\n'))
        nameless = update(schema.users).where(users.user_key == "u3")
        connection.execute(nameless.values(name=None))
        fallback = """'{"kind": "fallback", "because": "few ratings"}'"""
        change = f"UPDATE recommendations SET reason = {fallback}, predicted_rating = NULL"
        connection.execute(text(f"{change} WHERE rank > 3"))
        # Rated since: it is in no list any more.
        rate = "INSERT INTO ratings SELECT user_id, movie_id, 4, NULL, 1 FROM recommendations"
        connection.execute(text(f"{rate} WHERE rank = 2 AND model = 'blend'"))
    return rows_of_lists(database)


def rows_of_lists(database: Database, models: Iterable[str] = MODELS) -> list[Row]:
    """Each film of `query.lists` as a row."""
    found = []
    with database.reader.connect() as connection:
        for model in models:
            for each in query.lists(connection, model=model):
                for film in each.films:
                    row = {name: getattr(film, name, None) for name in Row._fields}
                    answer = {name: getattr(each, name) for name in row if hasattr(each, name)}
                    found.append(Row(**row | answer | {"why": film.why or None}))
    return found


def content(file: Path) -> list[dict[str, Any]]:
    """The rows of an exported file, by programs that are not ours; empty texts are not NULL."""
    if file.suffix == ".parquet":
        return [typed(row) for row in parquet.read_table(file).to_pylist()]
    packed = file.suffix == ".gz"
    data = file.read_bytes()
    decoded = (gzip.decompress(data) if packed else data).decode("utf-8")
    if ".jsonl" in file.name:
        *lines, rest = decoded.split("\n")
        assert rest == ""
        return [typed(json.loads(line)) for line in lines]
    return [typed(row) for row in csv.DictReader(StringIO(decoded, newline=""))]


def typed(row: dict[str, Any]) -> dict[str, Any]:
    """Values of any format as those of a Row; the reader of CSV tells NULL from no empty text."""
    if isinstance(row["rank"], str):
        row = {name: None if cell == "" and name != "title" else cell for name, cell in row.items()}
        row |= {"rank": int(row["rank"]), "run_id": int(row["run_id"])}
        row |= {name: row[name] and float(row[name]) for name in ("score", "predicted_rating")}
    if isinstance(row["reason"], str):
        row["reason"] = json.loads(row["reason"])
    if isinstance(row["published_at"], str):
        row["published_at"] = datetime.fromisoformat(row["published_at"])
    return row


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_has_the_rows_of_the_lists(
    ending: str, listed: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In each format the file has exactly the rows of `query.lists`, every value as it is."""
    name = f"lists.{ending}"
    capsys.readouterr()
    assert command("export", name) == 0
    assert capsys.readouterr().out == f"{name}: {len(listed)} rows of run 1\n"
    assert content(tmp_path / name) == [row._asdict() for row in listed]
    titles = {row.title for row in listed}
    assert len(titles & set(STRANGE)) > 15
    assert {row.user_name for row in listed if row.user_key == "u3"} == {None}
    assert [row.reason for row in listed].count(None) > 0
    assert 0 < sum(row.predicted_rating is None for row in listed) < len(listed)
    assert {row.rank for row in listed} == {1, 2, 3, 4, 5}


def test_one_model_and_one_run(
    listed: list[Row], database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--model and --run say which lists; a run that is not published any more has its own."""
    assert command("-q", "run", "--force") == 0
    capsys.readouterr()
    assert command("export", "x.jsonl", "--model", "neural", "--run", "1", "--json") == 0
    neural = [row._asdict() for row in listed if row.model == "neural"]
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"file": "x.jsonl", "run_id": 1, "rows": len(neural)}
    written = content(tmp_path / "x.jsonl")
    for row in (*written, *neural):
        del row["published_at"]  # of run 1 itself now, not of the publication
    assert written == neural
    assert command("export", "y.PARQUET") == 0
    (tmp_path / "y.PARQUET").rename(tmp_path / "y.parquet")
    current = content(tmp_path / "y.parquet")
    assert current == [row._asdict() for row in rows_of_lists(database)]
    assert {row["run_id"] for row in current} == {2}


def test_the_bytes_of_a_csv_file(listed: list[Row], database: Database, tmp_path: Path) -> None:
    """A header, UTF-8, \\n, quotes where needed; NULL is empty, times are ISO 8601 in UTC."""
    moment = "2026-11-25T22:08:01.000120+00:00"
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE runs SET preset = 'plain'"))  # nothing is filled
        connection.execute(text("DELETE FROM recommendations WHERE rank > 1"))
        connection.execute(text("DELETE FROM recommendations WHERE model <> 'neural'"))
        some = "(SELECT user_id FROM users WHERE user_key IN ('u3', 'u4', 'u5'))"
        connection.execute(text(f"DELETE FROM recommendations WHERE user_id NOT IN {some}"))
        connection.execute(text("UPDATE recommendations SET score = 0.125, predicted_rating = 3.5"))
        connection.execute(text("UPDATE movies SET movie_key = 'k' || movie_id, title = '=1+1,é'"))
        connection.execute(text("UPDATE users SET name = ' a \"b\"' WHERE user_key = 'u4'"))
        connection.execute(text("UPDATE users SET name = '' WHERE user_key = 'u5'"))
        reason = """'{"kind": "fallback", "because": "few ratings"}'"""
        of_one = "(SELECT user_id FROM users WHERE user_key = 'u4')"
        change = f"UPDATE recommendations SET reason = {reason} WHERE user_id = {of_one}"
        connection.execute(text(change))
        published = datetime.fromisoformat(moment)
        connection.execute(update(schema.publication).values(published_at=published))
    first, second, third = rows_of_lists(database, ["neural"])
    for packed in (False, True):
        name = "x.csv.gz" if packed else "x.csv"
        assert command("export", name) == 0
        written = (tmp_path / name).read_bytes()
        assert (gzip.decompress(written) if packed else written).decode() == (
            "user_key,user_name,model,rank,movie_key,title,score,predicted_rating,reason,"
            "run_id,published_at,why\n"
            f'u3,,neural,1,{first.movie_key},"=1+1,é",0.125,3.5,,1,{moment},\n'
            f'u4," a ""b""",neural,1,{second.movie_key},"=1+1,é",0.125,3.5,'
            '"{""because"": ""few ratings"", ""kind"": ""fallback""}",'
            f"1,{moment},{second.why}\n"
            f'u5,"",neural,1,{third.movie_key},"=1+1,é",0.125,3.5,,1,{moment},\n'
        )
    assert written[3:8] == bytes(5)  # neither a name nor a time: the same rows, the same bytes


def test_a_frame_has_the_rows_of_the_lists(
    listed: list[Row], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`frame` is the same rows in typed columns, numbered from 0, with reasons as JSON text."""
    monkeypatch.setattr("batch.query.table.FRAME_BLOCK", 100)
    with database.reader.connect() as connection:
        frame = query.frame(connection)
        neural = query.frame(connection, model="neural", run_id=1)
        with pytest.raises(query.NoSuchModelError, match="did you mean 'neural'"):
            query.frame(connection, model="neura")
    assert dict(frame.dtypes.astype(str)) == TYPES
    assert list(frame.index) == list(range(len(listed)))
    assert dict(neural.dtypes.astype(str)) == TYPES
    assert list(neural.user_key) == [row.user_key for row in listed if row.model == "neural"]
    found = frame.astype(object).where(frame.notna(), None).to_dict("records")
    for row in found:
        row["reason"] = row["reason"] and json.loads(row["reason"])
    assert found == [row._asdict() for row in listed]


def test_a_night_without_lists(
    listed: list[Row], database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run with no row is a table with every column and its type, and no row."""
    with database.writer.begin() as connection:
        connection.execute(text("DELETE FROM recommendations"))
    capsys.readouterr()
    for ending in ENDINGS:
        assert command("export", f"x.{ending}") == 0
        assert capsys.readouterr().out == f"x.{ending}: 0 rows of run 1\n"
        assert content(tmp_path / f"x.{ending}") == []
    assert (tmp_path / "x.csv").read_text().split(",")[0] == "user_key"
    with database.reader.connect() as connection:
        frame = query.frame(connection)
    assert len(frame) == 0
    assert dict(frame.dtypes.astype(str)) == TYPES
    assert list(pandas.read_parquet(tmp_path / "x.parquet").columns) == list(TYPES)


def test_rows_of_a_parquet_file_come_in_groups(
    listed: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Parquet file is written group by group, so that memory does not grow with the rows."""
    monkeypatch.setattr(export, "ROW_GROUP", 100)
    assert command("export", "x.parquet") == 0
    groups = parquet.ParquetFile(tmp_path / "x.parquet").metadata
    assert groups.num_row_groups == -(-len(listed) // 100) > 2
    assert content(tmp_path / "x.parquet") == [row._asdict() for row in listed]


def test_all_rows_are_of_one_moment(listed: list[Row], database: Database) -> None:
    """A night that is published, and ratings that come in, while rows are read change none."""
    with database.reader.connect() as connection:
        rows = query.rows(connection)
        read = [next(rows)]
        assert command("-q", "run", "--force") == 0
        with database.writer.begin() as writer:
            writer.execute(text("UPDATE movies SET title = 'another'"))
        read += rows
    assert read == listed


def after_rows(n_rows: int, then: Callable[[], object]) -> None:
    """Do something in the middle of an export of this process, which is about to end."""
    rows = query.rows

    def interrupted(*given: Any, **named: Any) -> Iterator[Row]:
        for number, row in enumerate(rows(*given, **named)):
            if number == n_rows:
                then()
            yield row

    query.rows = interrupted


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize(
    ("ending", "named"), [("csv", False), ("parquet", False), ("jsonl.gz", True)]
)
def test_whatever_ends_it_the_old_file_stays(
    ending: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that is killed, terminated, or fails leaves the old file and no other.

    Only where the system cannot write a file without a name does SIGKILL leave a hidden one.
    """
    folder = tmp_path / "files"
    folder.mkdir()
    file = folder / f"x.{ending}"
    file.write_text("old")
    if named:
        monkeypatch.delattr(os, "O_TMPFILE")

    def fail() -> None:
        raise OSError("broken")

    ends: dict[Callable[[], object], int] = {
        lambda: os.kill(os.getpid(), signal.SIGTERM): 143,
        fail: 1,
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9, 9)): 1,
    }
    if not named:
        ends[lambda: os.kill(os.getpid(), signal.SIGKILL)] = -signal.SIGKILL
    for end, code in ends.items():
        for n_rows in (0, 400):

            def work(n_rows: int = n_rows, end: Callable[[], object] = end) -> int:
                after_rows(n_rows, end)
                return command("export", str(file))

            read, write = os.pipe()  # a file could not take what the command says
            assert ended(in_child(work, Path(f"/dev/fd/{write}"))) == code
            os.close(write)
            with os.fdopen(read) as output:
                assert (str(file) in output.read()) == (code == 1)
            assert {each.name: each.read_text() for each in folder.iterdir()} == {file.name: "old"}
    assert command("export", str(file)) == 0
    assert [each.name for each in folder.iterdir()] == [file.name]
    assert len(content(file)) == 500


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_replaced_file_keeps_its_permissions_and_links(tmp_path: Path) -> None:
    """What only some may read stays so, and a symbolic link leads to the new rows."""
    file = tmp_path / "private.csv"
    file.write_text("old")
    file.chmod(0o600)
    link = tmp_path / "link.csv"
    link.symlink_to(file)
    assert command("export", str(link)) == 0
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(content(file)) == 500
    mask = os.umask(0o027)
    try:
        assert command("export", "new.csv") == 0
    finally:
        os.umask(mask)
    assert (tmp_path / "new.csv").stat().st_mode & 0o777 == 0o640


def test_a_folder_is_noticed_before_the_work(tmp_path: Path) -> None:
    """Where a folder has the file's name, nothing is written first."""
    with pytest.raises(IsADirectoryError) as caught, replacing(tmp_path):
        pytest.fail("rows would be written now")
    assert caught.value.filename == str(tmp_path)


ONE_OF = "name a file that ends in .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet"
MISTAKES = [
    ("export lists.xlsx", 2, f"lists.xlsx: the ending says no format; {ONE_OF}"),
    ("export -", 2, f"-: the ending says no format; {ONE_OF}"),
    ("export nowhere/x.csv", 2, "nowhere/x.csv: no such file or folder; make the folder first"),
    ("export folder.csv", 2, "folder.csv: a folder is where a file is needed; name a file"),
    ("export old.csv/x.csv", 2, "old.csv/x.csv: a file is where a folder is needed"),
    ("export /sys/x.csv", 1, "/sys/x.csv: "),
    ("export old.csv --run 99", 2, "there is no run 99"),
    ("export old.csv --model itemitem", 2, "user_user; did you mean 'item_item'?"),
]


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize(("arguments", "code", "message"), MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(
    arguments: str, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong ending, place, run or model is named in one line, and no file changes."""
    (tmp_path / "old.csv").write_text("old")
    (tmp_path / "folder.csv").mkdir()
    before = sorted(tmp_path.iterdir())
    capsys.readouterr()
    assert command(*arguments.split()) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "old.csv").read_text() == "old"


@pytest.mark.usefixtures("nights")
def test_lists_that_are_not_there(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A purged run, and a database without a published one, are said, and no file is written."""
    for _ in range(3):  # two runs are kept
        assert command("-q", "run", "--force") == 0
    capsys.readouterr()
    assert command("export", "x.csv", "--run", "1") == 1
    assert "run 1 has no lists: it is purged" in capsys.readouterr().err
    with database.writer.begin() as connection:
        connection.execute(text("DELETE FROM publication"))
    assert command("export", "x.csv") == 1
    assert "nothing is published yet" in capsys.readouterr().err
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_parquet_without_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where pyarrow is not installed, Parquet is exit 1 with what to install; CSV works."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert command("export", "x.parquet") == 1
    assert "a Parquet file needs pyarrow; pip install" in capsys.readouterr().err
    assert not (tmp_path / "x.parquet").exists()
    assert command("export", "x.csv") == 0
