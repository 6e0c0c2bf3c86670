"""The command as people and cron use it: what it prints, where, and its exit codes."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest
from sqlalchemy import insert, select

from batch.config import Config
from batch.models import PUBLISHED, REFERENCE
from batch.store import schema
from batch.store.database import open_database
from batch.store.run_lock import run_lock
from fixed import program as recbatch
from reuse import share_results
from tables import rows

MODELS = "blend, item_item, neural, user_user"


def recbatch_process(
    folder: Path, *arguments: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the program in a folder, as a shell would."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("RECBATCH_")
    }
    return subprocess.run(
        [sys.executable, "-m", "batch", *arguments],
        cwd=folder,
        env=inherited | environ,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that `recbatch demo` leaves, and what it printed."""
    folder = tmp_path_factory.mktemp("first") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        share_results(patch)
        done = recbatch(folder.parent, "demo")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_demo_shows_five_users_lists_of_every_model(demo: tuple[Path, str]) -> None:
    """`recbatch demo` prints five users' top fives of each model with titles, and the metrics."""
    _, printed = demo
    blocks = [block for block in printed.split("\n\n") if "user_user" in block and "\n1 " in block]
    assert len(blocks) == 5
    for block in blocks:
        _title, head, *lines = block.splitlines()
        assert head.split() == ["blend", "item_item", "neural", "user_user"]
        assert [line[0] for line in lines if line[0] != " "] == list("12345")
        assert all(len(line) <= 80 for line in block.splitlines())
    assert "popular" in printed
    assert "bias" in printed


def test_every_command_works_in_the_demo_folder(demo: tuple[Path, str]) -> None:
    """What the demo leaves is a folder in which each command can be tried."""
    folder, _ = demo
    names = [file.name for file in folder.iterdir() if not file.name.startswith("recbatch.db-")]
    assert sorted(names) == [
        "artifacts",
        "config.yaml",
        "movie_genres.csv",
        "recbatch.db",
        "recbatch.db.lock",
        "user_reviews.csv",
    ]
    user = (folder / "user_reviews.csv").read_text().splitlines()[1].split(",")[1]
    top = recbatch(folder, "top", user, "--model", "item_item", "--json")
    [answer] = json.loads(top.stdout)
    assert (answer["user_key"], answer["model"], len(answer["films"])) == (user, "item_item", 5)
    again = recbatch(folder, "run")
    assert again.returncode == 0, again.stderr
    assert "run 2 is published" in again.stdout
    assert "already ingested" in again.stdout
    assert recbatch(folder, "rollback").stdout == "run 1 is now current\n"
    assert recbatch(folder, "publish", "2").stdout == "run 2 is now current\n"
    history = json.loads(recbatch(folder, "runs", "--json").stdout)
    assert [(run["run_id"], run["status"], run["current"]) for run in history] == [
        (2, "published", True),
        (1, "published", False),
    ]
    assert recbatch(folder, "purge").stdout == "purged 0 runs\n"
    assert "rows at most: 12,000" in recbatch(folder, "run", "--dry-run").stdout
    metrics = json.loads(recbatch(folder, "evaluate", "--json").stdout)
    assert set(metrics) == {*PUBLISHED, *REFERENCE}
    printed = recbatch(folder, "evaluate").stdout
    for name in ("own.rmse", "own.precision@5", "own.ndcg_high@5", "own.gini@5"):
        assert f"{metrics['item_item'][name]:.3f}" in printed, name
    assert recbatch(folder, "schedule", "--next", "3").stdout.count("02:30 UTC, for") == 3
    assert recbatch(folder, "report").stdout == "report-2.html\n"
    assert user in (folder / "report-2.html").read_text(encoding="utf-8")


def test_an_audience_is_scored_as_the_lists_were(demo: tuple[Path, str]) -> None:
    """With restored models a film has about the score that it has in stored lists of `blend`."""
    folder, _ = demo
    in_lists = """
        SELECT movie_key, user_key, score FROM recommendations r
        JOIN publication USING (run_id) JOIN users USING (user_id) JOIN movies USING (movie_id)
        WHERE model = 'blend' AND score > 0 AND r.movie_id = (
            SELECT l.movie_id FROM recommendations l WHERE l.model = 'blend'
            GROUP BY l.movie_id ORDER BY count(*) DESC, l.movie_id LIMIT 1)"""
    stored = rows(open_database(f"sqlite:///{folder / 'recbatch.db'}"), in_lists)
    assert len(stored) > 50
    found = recbatch(folder, "audience", stored[0][0], "-n", "600", "--json")
    audience = json.loads(found.stdout)["users"]
    scores = {user["user_key"]: user["score"] for user in audience}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    differences = [abs(scores[user] - score) for _, user, score in stored]
    assert max(differences) < 0.05
    listed = {user for _, user, _ in stored}
    assert sum(user["user_key"] in listed for user in audience[:20]) >= 15


def test_a_second_demo_works_on_the_first(demo: tuple[Path, str]) -> None:
    """A second `recbatch demo` in a folder leaves the files as they are and publishes again."""
    folder, _ = demo
    before = (folder / "user_reviews.csv").stat().st_mtime_ns
    again = recbatch(folder.parent, "demo")
    assert again.returncode == 0, again.stderr
    assert "already ingested" in again.stdout
    assert (folder / "user_reviews.csv").stat().st_mtime_ns == before


def test_a_demo_that_a_gate_rejects_says_so(tmp_path: Path) -> None:
    """If a gate rejects the first night, `recbatch demo` names the gate and ends with 3."""
    sample = recbatch(tmp_path, "sample-data", "demo", "--users", "60", "--films", "80")
    assert sample.returncode == 0
    (tmp_path / "demo" / "config.yaml").write_text("gate: {min_precision_of_popular: 1000}\n")
    refused = recbatch(tmp_path, "demo")
    assert refused.returncode == 3
    assert "gate precision_of_popular_blend: " in refused.stdout
    assert "nothing was published" in refused.stderr


def test_an_unknown_user_gets_the_popular_list(demo: tuple[Path, str]) -> None:
    """`top` for an unknown user shows what is popular, and says that it does."""
    done = recbatch(demo[0], "top", "Nobody Here")
    assert done.returncode == 0
    assert done.stdout.startswith("popular for everyone: run ")
    assert "no user has the key or name 'Nobody Here'" in done.stderr


def test_a_user_without_a_list_gets_the_popular_one_once(demo: tuple[Path, str]) -> None:
    """`top` for a user without ratings shows what is popular once, and says why."""
    with open_database(f"sqlite:///{demo[0] / 'recbatch.db'}").writer.begin() as connection:
        connection.execute(insert(schema.users).values(user_id=9999, user_key="New Here"))
    done = recbatch(demo[0], "top", "New Here")
    assert done.returncode == 0
    assert done.stdout.count("popular for New Here: run ") == 1
    assert " for " not in done.stdout.replace("popular for New Here", "")
    assert f"New Here has no list of {MODELS}; this is what is popular" in done.stderr


MISTAKES = [
    ("top Ann --model best", 2, f"no lists of a model 'best'; there are {MODELS}\n"),
    ("--config none.yaml top Ann", 2, "none.yaml: no such file"),
    ("tpo Ann", 2, "no such command 'tpo'. Did you mean 'top'?"),
    ("publish 99", 2, "there is no run 99"),
    ("top Ann --run 99", 2, "there is no run 99"),
    ("db grant web", 2, "SQLite has no roles"),
    ("ingest nowhere.csv", 1, "nowhere.csv: no such file or folder"),
    ("ingest config.yaml", 1, "config.yaml:1: not a format that is known"),
]
"""Command line, exit code, and what stderr contains."""


@pytest.mark.parametrize(("arguments", "code", "message"), MISTAKES)
def test_mistakes_are_one_line_and_a_code(
    demo: tuple[Path, str], arguments: str, code: int, message: str
) -> None:
    """A mistake ends with its exit code and one line that says what is wrong, no traceback."""
    done = recbatch(demo[0], *arguments.split())
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert message in done.stderr


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    """Reading before anything was ingested names the file that does not exist."""
    done = recbatch(tmp_path, "top", "Ann")
    assert done.returncode == 2
    assert f"no database at {tmp_path / 'recbatch.db'}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_demo_leaves_foreign_files_alone(tmp_path: Path) -> None:
    """`recbatch demo` in a folder with other files stops before it writes anything."""
    own = tmp_path / "user_reviews.csv"
    own.write_text(",User,My Film\n0,Me,5\n")
    done = recbatch(tmp_path, "demo", ".")
    assert done.returncode == 1
    message = "already contains user_reviews.csv, which are not the demo's; name a new folder"
    assert message in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["user_reviews.csv"]


HUGE = "99999999999999999999"
NUMBERS = [
    f"publish {HUGE}",
    f"top Ann --run {HUGE}",
    f"top Ann -n {HUGE}",
    f"filter remove {HUGE}",
    f"diff {HUGE} 1",
    f"diff 1 {HUGE}",
    f"report {HUGE}",
    f"purge --keep {HUGE}",
    f"runs -n {HUGE}",
    f"check --warn-after {HUGE}",
    f"check --error-after {HUGE}",
    f"schedule --next {HUGE}",
    f"sample-data x --users {HUGE}",
    f"sample-data x --films {HUGE}",
]
"""Command lines with a number that no database or clock can take."""


@pytest.mark.parametrize("arguments", NUMBERS)
def test_a_number_has_a_limit(arguments: str, tmp_path: Path) -> None:
    """A number that is too large is wrong use, in one line that says what is allowed."""
    done = recbatch(tmp_path, *arguments.split())
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert re.search(r"must be \d+ or less", done.stderr)
    assert list(tmp_path.iterdir()) == []


BAD_ENVIRONMENTS = [
    ("demo taken", "", 2, "taken: "),
    ("sample-data taken", "", 2, "taken: a file is where a folder is needed"),
    ("top Ann", "DATABASE__URL=postgresql://u:canary@h:abc/db", 2, "database.url is not a URL"),
    ("top Ann", "DATABASE__URL=postgresql://u:canary@ry@h/db", 2, "write an @ that belongs"),
    ("top Ann", "DATABASE__URL=sqlite+aiosqlite:///x.db", 2, "is not supported"),
    (
        "runs",
        "DATABASE__URL=sqlite:///taken",
        1,
        "/taken; mend database.url, or move the file away",
    ),
    ("ingest taken", "DATABASE__URL=sqlite:////dev/null/x.db", 2, "/dev/null: a file is where"),
    ("run", "PRESET=plain", 2, "did you mean models.preset?"),
    ("run", "PUBLISH__TOPN=3", 2, "RECBATCH_PUBLISH__TOPN: unknown setting; did you mean top_n?"),
    (
        "run --scheduled-for yesterday",
        "",
        2,
        "neither a date such as 2026-11-23, nor a moment such as 2026-11-23T06:00",
    ),
    ("schedule", "SCHEDULE__CRON=0 0 30 2 *", 2, "never comes"),
    ("--config . run", "", 2, "not a file"),
    ("evaluate --predictions x.csv", "", 2, "--predictions goes with --test"),
]
"""Command line, a setting of the environment, exit code, and what stderr contains."""


@pytest.mark.parametrize(("arguments", "setting", "code", "message"), BAD_ENVIRONMENTS)
def test_a_bad_environment_is_one_line_too(
    tmp_path: Path, arguments: str, setting: str, code: int, message: str
) -> None:
    """Bad settings, files and addresses are one line with an exit code, without a secret."""
    (tmp_path / "taken").write_text("a file, not a folder")
    name, _, value = setting.partition("=")
    environ = {f"RECBATCH_{name}": value} if setting else {}
    done = recbatch(tmp_path, *arguments.split(), **environ)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert message in done.stderr
    assert "canary" not in done.stderr


def test_a_dry_run_leaves_no_file(tmp_path: Path) -> None:
    """--dry-run writes nothing, not even an empty database."""
    (tmp_path / "x.csv").write_text("user,movie,rating\nAnn,Heat,4\n")
    assert recbatch(tmp_path, "run", "--dry-run").returncode == 2
    assert recbatch(tmp_path, "ingest", "--dry-run", "x.csv").returncode == 0
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


def test_an_ascii_terminal_still_shows_titles(tmp_path: Path) -> None:
    """A title with letters that the output lacks is printed with escapes."""
    ratings = ["a,1 ½,4", "b,1 ½,4", "b,2 ½,5", "a,3 ½,1"]
    (tmp_path / "x.csv").write_text("\n".join(["user,movie,rating", *ratings, ""]))
    assert recbatch(tmp_path, "ingest", "x.csv").returncode == 0
    assert recbatch(tmp_path, "--quiet", "run").returncode == 0
    done = recbatch_process(tmp_path, "top", "a", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "2 \\xbd" in done.stdout


def test_a_locked_database_is_exit_75(demo: tuple[Path, str]) -> None:
    """While another job runs, a command that would write ends at once with 75."""
    with run_lock(open_database(f"sqlite:///{demo[0] / 'recbatch.db'}")):
        done = recbatch_process(demo[0], "run")
    assert done.returncode == 75
    assert "another job holds" in done.stderr


def test_a_rejected_night_is_exit_3(tmp_path: Path) -> None:
    """A run that is rejected exits 3, says that readers still get the old list, and what to do."""
    done = recbatch(tmp_path, "run")
    assert done.returncode == 3
    assert "gate ratings: 0, at least 1 wanted (ratings to learn from)" in done.stdout
    assert "nothing was published, and readers get what they got before" in done.stderr
    assert "there were no ratings: bring in ratings with 'recbatch ingest FILES'" in done.stderr


@pytest.mark.parametrize("liked", ["0.4", "5.1"])
def test_liked_is_within_the_scale(tmp_path: Path, liked: str) -> None:
    """A run for which all ratings are liked, or none, fails before it scores, and says why."""
    recbatch(tmp_path, "sample-data", "in", "--users", "20", "--films", "60")
    assert recbatch(tmp_path, "ingest", "in").returncode == 0
    done = recbatch(tmp_path, "run", RECBATCH_EVALUATION__RELEVANT_FROM=liked)
    assert done.returncode == 2
    assert f"evaluation.relevant_from: {liked} is outside the scale of the ratings" in done.stderr
    [run] = json.loads(recbatch(tmp_path, "runs", "--json").stdout)
    assert run["status"] == "failed"


def test_logs_carry_the_run_and_results_do_not_mix(tmp_path: Path) -> None:
    """Logs go to stderr, one JSON object per line with the run id; results to stdout."""
    recbatch(tmp_path, "sample-data", "in", "--users", "60", "--films", "80")
    assert recbatch(tmp_path, "ingest", "in").returncode == 0
    done = recbatch(tmp_path, "run", "--json")
    outcome = json.loads(done.stdout)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all({"time", "level", "event"} <= line.keys() for line in lines)
    fits = [line for line in lines if line["event"] == "fit"]
    assert [line["run"] for line in fits] == [outcome["run_id"]] * 7
    assert recbatch(tmp_path, "--quiet", "run").stderr == ""
    log = recbatch(tmp_path, "--log-format", "text", "run").stderr
    assert f"level=info run={outcome['run_id'] + 2} event=finished status=published" in log
    assert recbatch(tmp_path, "--log-format", "xml", "run").returncode == 2


def test_a_password_never_appears(tmp_path: Path) -> None:
    """An unreachable database is an error without the password, wherever that came from."""
    secret = tmp_path / "url"
    secret.write_text("postgresql://me:canary@127.0.0.1:1/films?connect_timeout=1")
    for environ in (
        {"RECBATCH_DATABASE__URL": secret.read_text()},
        {"RECBATCH_DATABASE__URL_FILE": str(secret)},
        {
            "RECBATCH_DATABASE__URL": "postgresql://me@127.0.0.1:1/films",
            "RECBATCH_DATABASE__JOB_URL_FILE": str(secret),
        },
        {"RECBATCH_DATABASE__URL": "postgresql://me@127.0.0.1:1/films?password=canary"},
    ):
        done = recbatch(tmp_path, "run", **environ)
        assert done.returncode == 1
        assert "no connection to postgresql://me" in done.stderr
        assert "canary" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "format_"), [((), "wide ratings matrix"), (("--times",), "long file")]
)
def test_ingest_reads_sample_data(tmp_path: Path, options: tuple[str, ...], format_: str) -> None:
    """`ingest` accepts what `sample-data` writes, counts every rating and has its film's genres."""
    size = ("--users", "20", "--films", "60")
    written = recbatch(tmp_path, "sample-data", "data", *size, *options)
    assert written.returncode == 0, written.stderr
    reports = json.loads(recbatch(tmp_path, "ingest", "data", "--json").stdout)
    by_format = {report["format"]: report for report in reports}
    assert sorted(by_format) == sorted(["wide genre matrix", format_])
    genres = by_format["wide genre matrix"]
    ratings = by_format[format_]
    assert genres["read"] == genres["accepted"] == 60
    assert ratings["read"] == ratings["accepted"]
    assert f"{ratings['read']:,} ratings by 20 users" in written.stdout
    database = open_database(f"sqlite:///{tmp_path / 'recbatch.db'}")
    with database.reader.connect() as connection:
        films = connection.execute(select(schema.movies.c.movie_id)).scalars().all()
        with_genres = connection.execute(select(schema.movie_genres.c.movie_id)).scalars()
        assert len(films) == 60
        assert set(with_genres) == set(films)
    assert Config().database.url == "sqlite:///recbatch.db"


def test_a_signal_is_not_lost_in_foreign_code(tmp_path: Path) -> None:
    """A signal during a callback from C, where exceptions are dropped, ends the program too."""
    program = """
        import ctypes, os, signal, time
        from batch import cli
        from batch.cli import help

        def work(_app):
            ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGTERM))()
            time.sleep(20)

        help.call = work
        cli.main()"""
    script = tmp_path / "script.py"
    script.write_text(dedent(program))
    start = time.monotonic()
    assert subprocess.run([sys.executable, script], capture_output=True).returncode == 143
    assert time.monotonic() - start < 15
