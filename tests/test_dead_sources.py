"""A configured source that brings nothing: the run says so, and `check`, until one reads it."""

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from sqlalchemy import select

from batch.job import steps
from batch.store import schema
from batch.store.database import Database
from batch.store.runs import RunWarning
from fixed import command
from tables import rows, shown

FINE, FAILED, UNHEALTHY = 0, 1, 5
RATINGS = "user,movie,rating,timestamp\nu1,m1,4,1500000000\n"
OTHER_RATINGS = "user,movie,rating,timestamp\nu2,m3,3,1500000000\n"
HEADER = "user,movie,rating,timestamp\n"
QUERY = "SELECT 'u1' AS user, 'm1' AS movie, 4 AS rating"

pytestmark = pytest.mark.usefixtures("nights")  # run 1 is published


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes files into the test's folder, by name, and makes `paths` the configured ones."""

    def configure(*paths: str, **files: str) -> None:
        for name, text in files.items():
            file = tmp_path / f"{name.replace('__', '/')}.csv"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        monkeypatch.setenv("RECBATCH_INGEST__PATHS", json.dumps(paths))

    return configure


def warnings(database: Database) -> list[RunWarning] | None:
    """What the newest run warned of."""
    newest = select(schema.runs.c.warnings).order_by(schema.runs.c.run_id.desc()).limit(1)
    with database.reader.connect() as connection:
        recorded: list[RunWarning] | None = connection.execute(newest).scalar()
    return recorded


def checked(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code of `check`, and what it says of sources."""
    capsys.readouterr()
    code = command("check")
    lines = capsys.readouterr().out.splitlines()
    return code, [line for line in lines if " sources: " in line]


DEAD = {
    "no such file": ("gone.csv", {}, "gone.csv: no such file or folder; check the path"),
    "no such folder": ("gone", {}, "gone: no such file or folder; check the path"),
    "a folder without files": (
        "in",
        {"in__x": ""},
        "in: it has no file that ends in ",
    ),
    "refused": ("a.csv", {"a": "no format\n"}, "a.csv:1: not a format that is known"),
    "one of a folder": (
        "in",
        {"in__a": RATINGS, "in__b": "no format\n"},
        "in/b.csv:1: not a format that is known",
    ),
    "without rows": (
        "a.csv",
        {"a": HEADER},
        "a.csv: no usable row in it; export it again, or remove it",
    ),
    "a catalogue refused with its ratings": (
        "in",
        {
            "in__movies": "movieId,title,genres\n1,Heat,Crime\n",
            "in__ratings": "userId,movieId,rating,timestamp\n1,1,many,1\n",
        },
        "in/ratings.csv:2: 1 of 1 rows cannot be read",
    ),
    "a catalogue beside no ratings": (
        "in",
        {
            "in__films": "movieId,title,genres\n1,Heat,Crime\n",
            "in__ratings": "userId,movieId,rating,timestamp\n",
        },
        "in/ratings.csv: no usable row in it; export it again, or remove it",
    ),
    "nothing that is needed": (
        "in",
        {"in__links": "movieId,imdbId,tmdbId\n1,2,3\n"},
        "in: no ratings or films in it; correct the path, or remove it",
    ),
}  # fmt: skip
"""Case -> the configured path, the files, and what the warning begins with."""


@pytest.mark.parametrize("case", DEAD)
def test_a_source_without_data_is_a_warning(
    database: Database, tmp_path: Path, sources: Callable[..., None], case: str
) -> None:
    """The run is published, and warns of that source only, with the reason."""
    path, files, begins = DEAD[case]
    sources(path, "good.csv", good=OTHER_RATINGS, **files)
    if case == "a folder without files":
        (tmp_path / "in" / "x.csv").unlink()
    assert command("-q", "run", "--force") == FINE
    [warning] = warnings(database) or []
    assert (warning["kind"], warning["about"]) == ("source", path)
    assert warning["message"].startswith(f"source {begins}")


def test_a_source_without_data_is_seen_everywhere(
    database: Database,
    tmp_path: Path,
    sources: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Output, log, `runs`, `check`, report and metrics name the source or count it."""
    sources("gone.csv", "good.csv", good=OTHER_RATINGS)
    monkeypatch.setenv("RECBATCH_METRICS__TEXTFILE", str(tmp_path / "recbatch.prom"))
    capsys.readouterr()
    assert command("-q", "run", "--force") == FINE
    output = capsys.readouterr()
    message = "source gone.csv: no such file or folder; check the path"
    assert f"\nwarning: {message}\n" in output.out
    logged = [json.loads(line) for line in output.err.splitlines() if line.startswith("{")]
    assert ("source warning", message) in [(line["event"], line["why"]) for line in logged]
    assert [warning["message"] for warning in warnings(database) or []] == [message]
    assert "\nrecbatch_last_run_dead_sources 1.0\n" in (tmp_path / "recbatch.prom").read_text()
    assert checked(capsys) == (UNHEALTHY, [f"error sources: run 2, {message}"])
    assert command("report", "-o", "page.html") == FINE
    page = unescape(re.sub("<[^>]*>", "", (tmp_path / "page.html").read_text()))
    assert f"Warning: {message}\n" in page
    capsys.readouterr()
    assert command("runs") == FINE
    assert "warnings: 1" in " ".join(capsys.readouterr().out.split())


def test_a_source_that_is_read_again_is_no_finding(
    database: Database, sources: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The finding ends with the run that reads the source; known content is none."""
    sources("a.csv")
    assert command("-q", "run") == FINE
    assert checked(capsys)[0] == UNHEALTHY
    sources("a.csv", a=RATINGS)
    for _ in range(2):  # merged, then unchanged
        assert checked(capsys)[0] in (UNHEALTHY, FINE)
        assert command("-q", "run", "--force") == FINE
        assert warnings(database) == []
        assert checked(capsys) == (FINE, [])


def test_known_content_without_rows_stays_a_finding(
    sources: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that had no rows last night and is unchanged still has none."""
    sources("a.csv", a=HEADER)
    for run_id in (2, 3):
        assert command("-q", "run") == FINE
        code, [line] = checked(capsys)
        assert code == UNHEALTHY
        assert line.startswith(f"error sources: run {run_id}, source a.csv: no usable row")


def test_a_day_without_ratings_in_a_folder_is_no_finding(
    database: Database, sources: Callable[..., None]
) -> None:
    """One file of a folder may be empty, while another of its format has rows."""
    sources("in", in__monday=HEADER, in__tuesday=RATINGS)
    assert command("-q", "run", "--force") == FINE
    assert warnings(database) == []


def test_rows_that_are_known_are_rows(database: Database, sources: Callable[..., None]) -> None:
    """A new file that only repeats what another brought is not without data."""
    sources("a.csv", "b.csv", a=RATINGS, b=RATINGS + "\n")
    assert command("-q", "run", "--force") == FINE
    repeated = "SELECT rows_accepted, rows_duplicate FROM ingest_batches WHERE file = 'b.csv'"
    assert rows(database, repeated) == [(0, 1)]
    assert warnings(database) == []


def test_a_source_that_was_removed_is_no_finding(
    sources: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Findings are of the sources of the newest run; without any there is none."""
    sources("a.csv", "b.csv")
    assert command("-q", "run") == FINE
    assert len(checked(capsys)[1]) == 2
    sources("b.csv")
    assert command("-q", "run") == FINE
    code, [line] = checked(capsys)
    assert (code, "source b.csv: " in line) == (UNHEALTHY, True)
    sources()
    assert command("-q", "run") == FINE
    assert checked(capsys) == (FINE, [])


def test_an_ingest_by_hand_is_no_finding(
    sources: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that a person named was refused in front of that person."""
    sources()
    assert command("ingest", "gone.csv") == FAILED
    assert checked(capsys) == (FINE, [])
    assert command("-q", "run") == FINE
    assert command("ingest", "gone.csv") == FAILED
    assert checked(capsys) == (FINE, [])


def test_a_run_that_read_no_source_ends_no_finding(
    database: Database,
    tmp_path: Path,
    sources: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After a run that failed before its sources, the finding of the run before it stays."""
    sources("a.csv")
    assert command("-q", "run") == FINE
    (tmp_path / "file").write_text("")
    with monkeypatch.context() as patch:
        patch.setenv("RECBATCH_ARTIFACTS__DIR", str(tmp_path / "file"))
        assert command("-q", "run") == FAILED
    assert warnings(database) is None
    code, [line] = checked(capsys)
    assert (code, line[:28]) == (UNHEALTHY, "error sources: run 2, source")


def test_a_run_may_be_failed_by_its_sources(
    database: Database,
    tmp_path: Path,
    sources: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With `fail` nothing is scored: exit 1, the reason in `runs`, other sources merged."""
    sources("a.csv", "good.csv", good=OTHER_RATINGS)
    monkeypatch.setenv("RECBATCH_INGEST__WHEN_REFUSED", "fail")
    monkeypatch.setenv("RECBATCH_METRICS__TEXTFILE", str(tmp_path / "recbatch.prom"))
    monkeypatch.setattr(steps, "load_inputs", None)  # calling it would be another error
    assert command("-q", "run") == FAILED
    reason = (
        "ingest.when_refused is fail, and a source brought nothing:"
        " a.csv: no such file or folder; check the path"
    )
    assert capsys.readouterr().err.splitlines()[-1] == f"recbatch: {reason}"
    assert rows(database, "SELECT status, error FROM runs WHERE run_id = 2") == [("failed", reason)]
    assert shown(database) == 1
    assert rows(database, "SELECT status FROM ingest_batches WHERE file = 'good.csv'") == [
        ("merged",)
    ]
    assert "\nrecbatch_last_run_dead_sources 1.0\n" in (tmp_path / "recbatch.prom").read_text()
    code, [line] = checked(capsys)
    assert (code, "run 2, source a.csv: no such file" in line) == (UNHEALTHY, True)


def test_how_a_run_meets_its_sources_changes_no_row(
    database: Database, sources: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash of settings that rows depend on is the same with `warn` and `fail`."""
    sources("a.csv", a=RATINGS)
    assert command("-q", "run", "--force") == FINE
    monkeypatch.setenv("RECBATCH_INGEST__WHEN_REFUSED", "fail")
    assert command("-q", "run") == FINE
    hashes = rows(database, "SELECT config_sha256 FROM runs WHERE run_id > 1")
    assert len(hashes) == 2
    assert len(set(hashes)) == 1


@pytest.mark.parametrize(
    ("setting", "value", "begins"),
    [
        ("QUERY", "SELECT nothing FROM nowhere", "ingest.query: the query failed: "),
        ("QUERY", f"{QUERY} WHERE 1 = 0", "ingest.query: no usable row in it; "),
        ("QUERY_URL", "sqlite:///gone.db", "ingest.query: there is no database at "),
        ("QUERY_URL", "postgresql://127.0.0.1:1/x", "ingest.query: the query failed: "),
    ],
)
def test_a_query_without_data_is_seen(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    value: str,
    begins: str,
) -> None:
    """A query that fails, has no rows, or whose database is down is a source without data."""
    monkeypatch.setenv("RECBATCH_INGEST__QUERY", QUERY)
    monkeypatch.setenv(f"RECBATCH_INGEST__{setting}", value)
    assert command("-q", "run") == FINE
    [warning] = warnings(database) or []
    assert warning["about"] == "ingest.query"
    assert warning["message"].startswith(f"source {begins}")
    assert checked(capsys)[0] == UNHEALTHY
    monkeypatch.delenv("RECBATCH_INGEST__QUERY")
    assert command("-q", "run") == FINE
    assert checked(capsys) == (FINE, [])


def test_a_refused_query_takes_the_other_with_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both queries are named, the one at fault with its reason."""
    monkeypatch.setenv("RECBATCH_INGEST__QUERY", "SELECT nothing FROM nowhere")
    monkeypatch.setenv("RECBATCH_INGEST__FILMS_QUERY", "SELECT 'm1' AS movie, 'Heat' AS title")
    assert command("-q", "run") == FINE
    films, ratings = warnings(database) or []
    assert (films["about"], ratings["about"]) == ("ingest.films_query", "ingest.query")
    assert films["message"].endswith("not merged, because it belongs with ingest.query")
    assert "the query failed" in ratings["message"]


def test_paths_that_overlap_share_their_files(
    database: Database, sources: Callable[..., None]
) -> None:
    """A file that two paths name counts for both, whichever of them it is merged for."""
    sources("in", "in/a.csv", "in", in__a=RATINGS, in__b="no format\n")
    assert command("-q", "run", "--force") == FINE
    assert [warning["about"] for warning in warnings(database) or []] == ["in"]


def test_runs_of_earlier_versions_have_no_warnings(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """NULL, as an upgrade leaves it, is no finding, no line of the report and no warning."""
    with database.writer.begin() as connection:
        connection.execute(schema.runs.update().values(warnings=None))
    assert rows(database, "SELECT count(*) FROM runs WHERE warnings IS NULL") == [(1,)]
    assert checked(capsys) == (FINE, [])
    assert command("report", "-o", "page.html") == FINE
    assert command("runs", "--json") == FINE
    history = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert history[0]["warnings"] is None
