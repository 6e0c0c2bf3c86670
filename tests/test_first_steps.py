"""Before the first lists: what each message advises, followed to the letter, leads to them."""

import re
from pathlib import Path

import pytest

from batch.store.database import Database, open_database
from data import fill, long_csv, random_rows
from fixed import by_fixed_arithmetic, command
from tables import rows, selects
from templates import contents, snapshot

REFUSED, FAILED = 3, 1
STEPS = 5
"""Messages to follow, at most."""


@pytest.fixture
def home(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Empty tables, settings for them, nights of fixed arithmetic, and good.csv to bring in."""
    by_fixed_arithmetic(monkeypatch)
    monkeypatch.chdir(tmp_path)
    url = database.url.render_as_string(hide_password=False)
    monkeypatch.setenv("RECBATCH_DATABASE__URL", url)
    (tmp_path / "good.csv").write_text(long_csv(random_rows(0)))
    return database


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code of a command, and its output after `-q` has silenced the log."""
    capsys.readouterr()
    code = command("-q", *arguments)
    output = capsys.readouterr()
    return code, output.out + output.err


def advised(message: str) -> list[str]:
    """The arguments of each command that a message quotes."""
    return re.findall("'recbatch ([^']*)'", message)


def follow(capsys: pytest.CaptureFixture[str], message: str) -> str:
    """Do what a message says in quotes, then what comes of that says; what `top` shows at last."""
    for _ in range(STEPS):
        texts = advised(message)
        assert texts, f"no advice in: {message}"
        for text in texts:
            code, message = output_of(capsys, *text.replace("FILES", "good.csv").split())
            if code:
                break
        else:
            code, message = output_of(capsys, "top", "u1")
            if code == 0:
                return message
    raise AssertionError(f"it does not end: {message}")


@pytest.mark.parametrize("state", ["empty", "refused", "failed", "rated", "rejected", "no rows"])
def test_every_advice_leads_to_lists(
    home: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: str,
) -> None:
    """From each state before the first lists, the quoted commands of the messages lead there.

    Commands that leave the same rows and give the same advice are followed once. Those that
    change rows come last.
    """
    if state == "rated":
        fill(home, tmp_path / "in")
    if state == "rejected":
        fill(home, tmp_path / "in")
        monkeypatch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
        assert command("-q", "run") == REFUSED
    if state == "no rows":  # its one user has rated its one film
        (tmp_path / "one.csv").write_text("user,movie,rating\nu1,m1,4\n")
        assert command("ingest", "one.csv") == 0
        assert command("-q", "run") == REFUSED
    if state in ("refused", "failed"):
        monkeypatch.setenv("RECBATCH_INGEST__PATHS", "late.csv")
        if state == "failed":
            monkeypatch.setenv("RECBATCH_INGEST__WHEN_REFUSED", "fail")
        assert command("-q", "run") == (FAILED if state == "failed" else REFUSED)
    weights, late = tmp_path / "artifacts", tmp_path / "late.csv"
    weights.mkdir(exist_ok=True)
    followed: set[tuple[str, ...]] = set()
    with snapshot(home, weights) as restore:
        for first in ("top u1", "check", "report", "run", "run --force"):
            code, message = output_of(capsys, *first.split())
            if state == "failed":  # the export comes at last
                assert code
                late.write_text((tmp_path / "good.csv").read_text())
                message = message if "'" in message else "'recbatch run'"
            with selects(home) as select:
                advice = (contents(select, weights), *(advised(message) if code else ()))
            if advice in followed:
                continue
            followed.add(advice)
            lists = follow(capsys, message) if code else output_of(capsys, "top", "u1")[1]
            assert "blend for u1: run " in lists, first
            assert len(re.findall(r"^1  m\d+", lists, re.MULTILINE)) == 4, first  # models
            late.unlink(missing_ok=True)
            restore()


def test_a_run_that_may_be_published_is_named(
    home: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A first run that its gates refused, or that ended ready, needs no other night."""
    fill(home, tmp_path / "in")
    advice = "'recbatch publish {0}' shows run {0}, which is {1}\n"
    with monkeypatch.context() as patch:
        patch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
        assert command("-q", "run") == REFUSED
    assert output_of(capsys, "top", "u1")[1].endswith(advice.format(1, "rejected"))
    assert command("-q", "run", "--no-publish") == 0
    assert output_of(capsys, "top", "u1")[1].endswith(advice.format(2, "ready"))


def test_without_a_database(
    tmp_path: Path,
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Either command that `top` names where there is no database leads to lists."""
    by_fixed_arithmetic(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECBATCH_DATABASE__URL", sqlite_url)
    (tmp_path / "good.csv").write_text(long_csv(random_rows(0)))
    file = open_database(sqlite_url).file
    assert file is not None
    for text in ("ingest FILES", "db upgrade"):
        file.unlink(missing_ok=True)
        code, message = output_of(capsys, "top", "u1")
        assert code
        assert f"'recbatch {text}'" in message
        assert "blend for u1: run 1" in follow(capsys, f"'recbatch {text}'")


@pytest.mark.promise("D7")
def test_a_run_without_rows_is_never_published(
    home: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by --force, not as ready, not by `publish`; the published lists stay."""
    assert command("-q", "run", "--force") == REFUSED
    assert command("-q", "run", "--no-publish") == REFUSED
    code, message = output_of(capsys, "publish", "1")
    assert (code, "run 1 fails its integrity checks: no_rows; " in message) == (FAILED, True)
    assert rows(home, "SELECT status FROM runs") == [("rejected",)] * 2
    assert rows(home, "SELECT * FROM publication") == []
    assert command("ingest", "good.csv") == 0
    assert command("-q", "run") == 0
    monkeypatch.setenv("RECBATCH_FILTERS__FILMS", str([f"m{i}" for i in range(40)]))
    monkeypatch.setenv("RECBATCH_PUBLISH__LEAST_RATINGS", "1000")  # popular films for everyone
    code, message = output_of(capsys, "run", "--force")
    assert (code, "no user has a film left that could be listed" in message) == (REFUSED, True)
    assert rows(home, "SELECT run_id FROM publication") == [(3,)]


def test_a_day_before_all_ratings(
    home: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run as of a day on which nothing was known advises a later day."""
    fill(home, tmp_path / "in")
    code, message = output_of(capsys, "run", "--as-of", "1999-01-01")
    assert code == REFUSED
    assert "there were no ratings known by 1999-01-01; name a later day, or bring in " in message
