"""What the program promises operators, and the table of how often each promise was tried and kept.

    python -m pytest tests -n 2 -m "promise or soak" --soak --promises=docs/reliability.md

A test names its promise, `@pytest.mark.promise("A7")`, and reports its number of tries with the
fixture `figure`.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

PROMISES = {
    "A1": "A statement on a view shows one complete published run, or nothing; never a mix.",
    "A2": "Publishing waits for no reader, however long it reads.",
    "A3": "A reader's snapshot stays whole through publications and the purge of its run.",
    "A4": "A night killed anywhere leaves the old list or its own, whole; the next one works.",
    "A5": "The same where the Postgres server crashes.",
    "A6": "A SQLite file whose log was torn by a power cut opens, and shows one whole run.",
    "A7": "If a statement, commit or file write fails, lists stay whole; the exit code is true.",
    "A8": "If only the answer to the last commit is lost, the night looks up what was done.",
    "A9": "Rollback is one command and one transaction.",
    "A10": "A run that a gate refuses stays as evidence, and changes nothing for readers.",
    "A11": "Files and tables stop growing after as many nights as are kept.",
    "A12": "The published run and the one before it can be read by number.",
    "A13": "Rows changed by hand after publication are noticed, the program's own changes are not.",
    "B1": "One job works on a database at a time; any other exits 75 without waiting for it.",
    "B2": "A job that was killed needs no unlocking.",
    "B3": "A job that lost its lock cannot publish.",
    "B4": "A night is published once, whatever starts it twice.",
    "B5": "A night that was missed is made up once, the newest only, if it is not too old.",
    "B6": "A clock set back repeats no night; a machine that slept starts it when it wakes.",
    "B7": "SIGTERM ends a run with 143, as process 1 too; it is abandoned or published whole.",
    "B8": "A night that takes longer than it may is ended, and left unpublished.",
    "B9": "After an unexpected error the scheduler waits, for its job too, and starts none beside.",
    "B10": "A SQLite file with a second name, or replaced during a night, is refused.",
    "C1": "Every row is accepted, rejected with its place, reason and text, or a duplicate.",
    "C2": "The ratings of a file, or of a group of them, come in whole or not at all.",
    "C3": "Any order and repetition of files gives the same tables.",
    "C4": "Nothing is guessed: what is not known for certain is refused with a hint.",
    "C5": "No rating is outside its scale, infinite or not a number, whatever its text.",
    "C6": "A file that is made to fill memory or time takes at most 300 MB, and a minute.",
    "C7": "More than a tolerated share or number of bad rows refuses the file.",
    "C8": "Films that share a title, and titles that look alike, stay apart.",
    "C9": "One table gives the same rows in any separator, quotes, encoding or order of columns.",
    "C10": "A table is read as what it is, or refused; never as a table of another kind.",
    "D1": "The same tables, settings, seed and versions give the same rows, in any process.",
    "D2": "The neighbourhood models give the same rows for any number of threads.",
    "D3": "So does the network, to the last bit of its weights.",
    "D4": "Equal scores are ordered by count of ratings, then by key.",
    "D5": "No score that is not a finite number can be stored.",
    "D6": "Degenerate ratings break no model: no warning, no crash, no score that is not a number.",
    "D7": "Nobody is recommended a film they rated, one that does not exist, or one twice.",
    "D8": "A run that is clearly worse than its baselines or the published one is not published.",
    "D9": "Every published row can be traced to data, settings, seed, versions and figures.",
    "D10": "A film that is filtered is hidden at once, and in no list that is made from then on.",
    "D11": "A damaged compiler cache costs a warning and a compilation, never a night or a digit.",
    "D12": "No list shows a film rated or filtered since; what is stored after it moves up.",
    "D13": "A film marked as seen is in no list of that user, from the next read on.",
    "D14": "Films marked as seen change no prediction, weight or metric of a model.",
    "D15": "The stored outcome of a run's lists equals a slow count of later ratings.",
    "D16": "A refresh shows new lists of those whose ratings changed, and changes no others.",
    "E1": "No SQL is built from data.",
    "E2": "A reading role sees the views only; the job's role cannot change the schema.",
    "E3": "A password appears in no output, table or process list.",
    "E4": "Nothing is unpickled but numba's machine code, and the work of a Dask cluster.",
    "E5": "Settings are refused where they are unknown, twice there or not what they seem.",
    "E6": "In its container the program has no privileges, and writes to its volume only.",
    "E7": "Every package is pinned, and those of the image by hash, but for torch.",
    "E8": "No text from outside steers a terminal, hides, or forges a line, printed or logged.",
    "E9": "A mistake in settings or arguments is exit 2, in one line with what to write instead.",
    "F1": "Whoever is to be forgotten is gone from every table, run, reject and file.",
    "F2": "A backup is one consistent state, taken while the job works.",
    "F3": "Forgetting leaves no byte in the database's files, or says who must do what.",
    "F4": "Forgetting shows what would go, and finds rejected rows in any separator and case.",
    "G1": "Readers work through a pooler, and leave its sessions as they were.",
    "G2": "The job works through a pooler, or refuses at its start and names the remedy.",
    "G3": "Whatever the server is set to, a night gives the same rows, or is refused first.",
    "G4": "Readers work on a hot standby; what writes refuses it, and names the remedy.",
}
"""By letter: publishing, one runner, files, numbers, security, people's data, servers."""

BEGIN, END = "<!-- begin: promises -->\n", "<!-- end: promises -->\n"
EITHER = "either"


class Ledger:
    """Counts tries and violations while tests run."""

    def __init__(self, config: pytest.Config) -> None:
        self.page: Path | None = config.getoption("--promises")
        self.soak = bool(config.getoption("--soak"))
        self.tries: dict[tuple[str, str], int] = {}
        self.broken: dict[str, int] = {}
        self.tests: dict[str, set[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a finished test into account."""
        if report.when != "call" and not report.failed:
            return
        told = dict(report.user_properties)
        for promise in str(told.get("promises", "")).split():
            where = str(told["database"])
            test = re.split(r"[\[@]", report.nodeid)[
                0
            ]  # without parameters, and the group of tests
            self.tests.setdefault(promise, set()).add(test)
            tries = told.get(f"figure {promise}", told.get("figure", 1))
            self.tries[promise, where] = self.tries.get((promise, where), 0) + int(str(tries))
            self.broken[promise] = self.broken.get(promise, 0) + (report.outcome == "failed")

    def table(self) -> Iterator[str]:
        """The lines of the table."""
        yield "| | promise | SQLite | Postgres | either | violations | tests |"
        yield "|---|---|---:|---:|---:|---:|---|"
        for promise, text in PROMISES.items():
            counts = [
                self.tries.get((promise, where), 0) for where in ("sqlite", "postgres", EITHER)
            ]
            tests = sorted(self.tests.get(promise, ()))
            names = ", ".join(
                f"`{test.removeprefix('tests/').replace('::test_', ' ')}`" for test in tests
            )
            figures = " | ".join(f"{count:,}" if count else "" for count in counts)
            yield f"| {promise} | {text} | {figures} | {self.broken.get(promise, 0)} | {names} |"

    def pytest_sessionfinish(self) -> None:
        """Put the table between its marks, if that was asked for."""
        if self.page is not None:
            before, _, rest = self.page.read_text().partition(BEGIN)
            how = "with" if self.soak else "without"
            said = f"Tried {datetime.now(UTC):%Y-%m-%d} {how} `--soak`.\n\n"
            table = said + "\n".join(self.table()) + "\n"
            self.page.write_text(before + BEGIN + table + END + rest.partition(END)[2])


def database_of(item: pytest.Item) -> str:
    """Which database a test works on."""
    chosen = getattr(item, "callspec", None)
    if chosen is not None and chosen.params.get("url") in ("sqlite", "postgres"):
        return str(chosen.params["url"])
    names = getattr(item, "fixturenames", ())
    found = [
        kind
        for kind in ("sqlite", "postgres")
        if f"{kind}_url" in names or f"{kind}_server" in names
    ]
    return found[0] if len(found) == 1 else EITHER


@pytest.fixture(autouse=True)
def _marked(request: pytest.FixtureRequest) -> None:
    marks = [mark.args[0] for mark in request.node.iter_markers("promise")]
    assert set(marks) <= PROMISES.keys()
    if marks:
        request.node.user_properties += [
            ("promises", " ".join(marks)),
            ("database", database_of(request.node)),
        ]


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Says how often a test has tried what it stands for: all of it, or one promise of several."""

    def tried(tries: int, promise: str | None = None) -> None:
        request.node.user_properties.append((f"figure {promise}" if promise else "figure", tries))

    return tried


@pytest.fixture
def often(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """How often something is tried: so often on every commit, and so often with --soak."""
    soak = bool(request.config.getoption("--soak"))
    return lambda commit, full: full if soak else commit
