"""The page about a run: its figures against the tables, odd runs, hostile text, a real browser."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import browser as chromium
from batch.cli.metric_tables import all_metrics
from batch.job import steps
from batch.models import PUBLISHED
from batch.ranking.evaluate import Evaluation
from batch.serve.report.charts import Dot, dots
from batch.serve.report.facts import Facts, gather
from batch.serve.report.words import decimals, share, visible
from batch.store.database import Database, open_database
from batch.store.versions import upgrade
from faults import Faults, copy_first_night, fixed_nights
from fixed import command
from tables import rows
from templates import Templates

HOSTILE = (
    "<script>alert(1)</script> \u202eevil\u0007 \"'><img src=x onerror=alert(2)> $x$ {{ 7 * 7 }} "
    + "w" * 300
)
NAMES = ("bias", "popular_all", "popular", *PUBLISHED)
"""From worst to best."""


def measured(*_: Any) -> Evaluation:
    """All metrics that a night may measure, each model better than the one before in NAMES."""
    metrics = {}
    for place, model in enumerate(NAMES):
        hits = 0.1 + 0.02 * place
        rmse = 1.0 - 0.03 * place
        metrics[model] = {
            "users": 25.0,
            "raters": 25.0,
            "fallback_share": 0.05,
            "mae": rmse * 0.8,
            "rmse": rmse,
            "rmse_low": rmse - 0.05,
            "rmse_high": rmse + 0.05,
            "precision@5": hits,
            "precision_low@5": hits * 0.8,
            "precision_high@5": hits * 1.2,
            "ndcg@5": hits,
            "ndcg_low@5": hits * 0.8,
            "ndcg_high@5": hits * 1.2,
            "recall@5": hits,
            "map@5": hits,
            "hit_rate@5": 4 * hits,
            "precision_light@5": hits * 0.5,
            "precision_heavy@5": hits * 2,
            "coverage@5": 0.1 * place,
            "popularity_lift@5": 1.0 + place,
            "novelty@5": 3.0 + place,
            "gini@5": 0.9 - 0.1 * place,
            "diversity@5": 0.6 + 0.05 * place,
        }
    gain = {
        "precision_gain@5": 0.02,
        "precision_gain_low@5": -0.01,
        "precision_gain_high@5": 0.05,
    }
    metrics["blend"] |= gain
    return Evaluation(metrics, "own", None, None, 1)


@pytest.fixture
def sqlite_nights(
    sqlite_url: str, templates: Templates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """One published night of fixed arithmetic, on SQLite: the kind of database does not matter."""
    database = open_database(sqlite_url)
    copy_first_night(templates, database, tmp_path)
    with fixed_nights(database, tmp_path, monkeypatch):
        yield database


def facts_of(database: Database, run_id: int | None = None) -> Facts:
    with database.reader.connect() as connection:
        return gather(connection, run_id)


def page(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The page that `recbatch report ARGUMENTS` writes."""
    capsys.readouterr()
    assert command("-q", "report", *arguments) == 0
    file = Path(capsys.readouterr().out.strip())
    return file.read_text(encoding="utf-8")


def visible_text(page: str) -> str:
    """A page without its tags, every gap one space."""
    body = page[page.index("<body>") :]
    return " ".join(re.sub(r"<[^>]*>", "", body).split())


def shift_films(database: Database, run_id: int) -> None:
    """Change films of a run in the tables: the second of every list, and all of two users'."""
    with database.writer.begin() as connection:
        for where in ("rank = 2", "user_id <= 2"):
            change = "UPDATE recommendations SET movie_id = movie_id + 1000"
            connection.execute(text(f"{change} WHERE run_id = {run_id} AND {where}"))


def test_lists_are_counted_as_row_by_row(nights: Faults, database: Database) -> None:
    """Users, rows, films, the share of the ten most listed and the films kept equal Python's."""
    assert command("-q", "run") == 0
    shift_films(database, 1)
    facts = facts_of(database)
    stored = rows(
        database,
        "SELECT run_id, model, user_id, rank, movie_id FROM recommendations WHERE rank <= 5",
    )
    assert set(facts.lists) == set(PUBLISHED)
    for model, lists in facts.lists.items():
        new = [row for row in stored if row[:2] == (2, model)]
        films = Counter(row[4] for row in new)
        few = sum(count for _, count in films.most_common(10)) / len(new)
        counts = (lists.users, lists.full, lists.rows, lists.films)
        assert counts == (25, 25, 125, len(films))
        assert lists.few_share == pytest.approx(few)
        kept: Counter[int] = Counter()
        for user in {row[2] for row in new}:
            films_before = {row[4] for row in stored if row[:3] == (1, model, user)}
            films_after = {row[4] for row in new if row[2] == user}
            kept[len(films_before & films_after)] += 1
        assert facts.churn is not None
        assert (facts.churn.run_id, facts.churn.ranks) == (1, 5)
        assert facts.churn.kept[model] == dict(kept)
        assert kept == {0: 2, 4: 23}
    titles = dict(rows(database, "SELECT movie_id, title FROM movies"))
    counted = Counter(row[4] for row in stored if row[:2] == (2, "blend"))
    by_title = [(titles[film], count) for film, count in counted.items()]
    most = sorted(by_title, key=lambda film: (-film[1], film[0]))
    assert [(film.title, film.lists) for film in facts.most_listed] == most[:10]


def test_sample_users_have_their_own_lists(nights: Faults, database: Database) -> None:
    """Samples go from who rated least to who rated most, with their own ratings and lists."""
    samples = facts_of(database).samples
    joined = "ratings JOIN users USING (user_id)"
    counted = dict(rows(database, f"SELECT user_key, count(*) FROM {joined} GROUP BY user_key"))
    n_ratings = [sample.ratings for sample in samples]
    assert n_ratings == sorted(n_ratings)
    assert len(samples) == 4
    for sample in samples:
        key = sample.name.removeprefix("User ")
        assert sample.ratings == counted[key]
        listed = (
            "SELECT title FROM current_recommendations"
            f" WHERE user_key = '{key}' AND model = 'neural' ORDER BY rank"
        )
        assert [(film.title,) for film in sample.lists["neural"]] == rows(database, listed)
        highest = f"SELECT max(rating) FROM {joined} WHERE user_key = '{key}'"
        assert [(sample.favourites[0][1],)] == rows(database, highest)
        assert set(sample.agreed.values()) == {4}  # fixed nights give every model the same lists


def test_the_page_has_what_was_measured(
    sqlite_nights: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures of models and baselines, sentences, trends and checks are on the page of a run."""
    monkeypatch.setattr(steps, "measure", measured)
    assert command("-q", "run") == 0
    html = page(capsys)
    text = visible_text(html)
    for sentence in (
        "Run 2, night of",
        "Published. It is what readers see",
        "25 users have 4 lists of up to 5 films each",
        "a list of 5 by blend held 1.10 films that its user turned out to like",
        "Compared with the best single model that is +0.10 films (−0.05 to +0.25).",
        "Users keep 5.00 of their 5 blend films of run 1 on average; everyone keeps at least one.",
    ):
        assert sentence in text
    assert "checks failed" not in text
    assert "blend_by_score" not in html
    assert re.search(r"All \d+ checks passed\.", text)
    assert 'aria-label="blend 0.220 (0.176 to 0.264); user_user 0.160 (0.128 to 0.192)' in html
    trend = "blend from 0.200 to 0.220; popular from 0.200 to 0.140"
    assert f'aria-label="run 1 to run 2: {trend}"' in html
    assert "blend: least 0.110, most 0.440" in html
    kept = ", ".join([*(f"{films} 0\u202f%" for films in range(5)), "5 100\u202f%"])
    assert f"blend: {kept}" in html.replace("films kept: ", "")


def bold_models(page: str, region: str) -> dict[str, list[str]]:
    """By column of a table of metrics, the models whose figure is bold."""
    table = page.split(f'aria-label="{region}"')[1].split("</table>")[0]
    columns = re.findall(r'<th scope="col" class="number">(.*?)</th>', table)
    models: dict[str, list[str]] = {column: [] for column in columns}
    for row in re.findall(r'<th scope="row">.*?</tr>', table, re.S):
        [model] = re.findall(r"<bdi>(.*?)</bdi>", row)
        for column, cell in zip(columns, re.findall(r"<td.*?</td>", row), strict=True):
            if "<strong>" in cell:
                models[column].append(model)
    return models


def test_the_best_of_each_column_is_bold(
    sqlite_nights: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bold is the smallest error, the largest of what should be large, and nothing else."""
    monkeypatch.setattr(steps, "measure", measured)
    assert command("-q", "run") == 0
    html = page(capsys)
    assert bold_models(html, "Accuracy") == {
        "precision": ["blend"],
        "recall": ["blend"],
        "NDCG": ["blend"],
        "MAP": ["blend"],
        "hit rate": ["blend"],
        "RMSE": ["blend"],
        "MAE": ["blend"],
        "fallback": [],
        "users": [],
    }
    assert bold_models(html, "Lists") == {
        "coverage": ["blend"],
        "popularity": [],
        "novelty, bits": [],
        "Gini": [],
        "diversity": [],
    }


def starred_models(table: str) -> dict[str, list[str]]:
    """By column of a table of metrics on a terminal, the models whose figure has a star."""
    _title, head, *lines = table.splitlines()
    columns = head.split()[1:]
    models: dict[str, list[str]] = {column: [] for column in columns}
    for line in lines:
        model, *cells = line.split()
        for column, cell in zip(columns, cells, strict=True):
            if cell.endswith("*"):
                models[column].append(model)
    return models


def test_the_best_of_each_column_has_a_star(capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal a star is at the smallest error, at the largest of what should be large."""
    all_metrics(measured().measured)
    accuracy, _intervals, lists = capsys.readouterr().out.strip().split("\n\n")
    assert starred_models(accuracy) == {
        "rmse": ["blend"],
        "mae": ["blend"],
        "fallback": [],
        "prec": ["blend"],
        "recall": ["blend"],
        "ndcg": ["blend"],
        "map": ["blend"],
    }
    assert starred_models(lists) == {
        "hits": ["blend"],
        "light": ["blend"],
        "heavy": ["blend"],
        "coverage": ["blend"],
        "lift": [],
        "novelty": [],
        "gini": [],
        "diverse": [],
    }


def test_the_published_run_is_the_default(
    sqlite_nights: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """By default the page is of what readers see, in report-RUN.html; both can be named."""
    assert command("-q", "run") == 0
    assert command("-q", "rollback") == 0
    capsys.readouterr()
    assert command("-q", "report") == 0
    assert capsys.readouterr().out == "report-1.html\n"
    assert "It is what readers see" in Path("report-1.html").read_text(encoding="utf-8")
    file = tmp_path / "two.html"
    assert command("-q", "report", "2", "-o", str(file)) == 0
    assert capsys.readouterr().out == f"{file}\n"
    text = visible_text(file.read_text(encoding="utf-8"))
    assert "No longer current. Readers see run 1." in text


def test_a_run_without_a_page_is_one_line(
    sqlite_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Nothing published ends with 1, no such run with 2, each with one line."""
    monkeypatch.setenv("RECBATCH_DATABASE__URL", sqlite_url)
    upgrade(open_database(sqlite_url))
    monkeypatch.chdir(tmp_path)
    nothing = (
        "nothing is published yet; bring in ratings with 'recbatch ingest FILES', or name files"
        " in ingest.paths, then run 'recbatch run', or name a run that 'recbatch runs' lists"
    )
    assert command("-q", "report") == 1
    assert capsys.readouterr() == ("", f"recbatch: {nothing}\n")
    assert command("-q", "report", "7") == 2
    missing = "there is no run 7; 'recbatch runs' lists them"
    assert capsys.readouterr() == ("", f"recbatch: {missing}\n")
    assert list(tmp_path.glob("*.html")) == []


def test_a_file_that_cannot_be_written_is_named(
    sqlite_nights: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page whose folder does not exist ends with 2, the file's name and what to do."""
    capsys.readouterr()
    assert command("-q", "report", "-o", "nowhere/page.html") == 2
    remedy = "make the folder first, or name another path"
    expected = f"recbatch: nowhere/page.html: no such file or folder; {remedy}\n"
    assert capsys.readouterr().err == expected


def _first(_: pytest.MonkeyPatch) -> int:
    return 1


def _purged(_: pytest.MonkeyPatch) -> int:
    assert [command("-q", "run") for _ in range(3)] == [0, 0, 0]
    return 1


def _rejected(patch: pytest.MonkeyPatch) -> int:
    patch.setenv("RECBATCH_GATE__MIN_PRECISION_OF_POPULAR", "1000")
    assert command("-q", "run") == 3
    return 2


def _forced(patch: pytest.MonkeyPatch) -> int:
    patch.setenv("RECBATCH_GATE__MIN_PRECISION_OF_POPULAR", "1000")
    assert command("-q", "run", "--force") == 0
    return 2


def _after_a_rejected_one(patch: pytest.MonkeyPatch) -> int:
    _rejected(patch)
    patch.delenv("RECBATCH_GATE__MIN_PRECISION_OF_POPULAR")
    assert command("-q", "run") == 0
    return 3


def _failed(patch: pytest.MonkeyPatch) -> int:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on <device>")

    patch.setattr(steps, "measure", fail)
    assert command("-q", "run") == 1
    return 2


def _ready(_: pytest.MonkeyPatch) -> int:
    assert command("-q", "run", "--no-publish") == 0
    return 2


def _unmeasured(patch: pytest.MonkeyPatch) -> int:
    patch.setattr(steps, "measure", lambda *_: Evaluation({}, "own", None, None, 1))
    assert command("-q", "run", "--force") == 0
    return 2


def _by_score(patch: pytest.MonkeyPatch) -> int:
    metrics = measured().metrics
    with_by_score = {**metrics, "blend_by_score": metrics["blend"]}
    patch.setattr(steps, "measure", lambda *_: Evaluation(with_by_score, "own", None, None, 1))
    assert command("-q", "run", "--force") == 0
    return 2


def _with_fallback(patch: pytest.MonkeyPatch) -> int:
    patch.setenv("RECBATCH_PUBLISH__LEAST_RATINGS", "14")
    assert command("-q", "run", "--force") == 0
    return 2


Make = Callable[[pytest.MonkeyPatch], int]
"""Makes a run that is odd in some way; returns its number."""
ODD: dict[Make, list[str]] = {
    _first: [
        "Published.",
        "No trend: no other run",
        "Nothing to compare with: no published run before this one",
    ],
    _purged: [
        "Purged. Its lists were deleted on",
        "Its lists were purged.",
        "Readers see run 4.",
        "0.200",
    ],
    _rejected: [
        "Rejected: a check refused it. Nothing was published. Readers see run 1.",
        "failed: 1.250",
        "3 of 47 checks failed: precision_of_popular_blend, ",
    ],
    _forced: [
        "Published. It is what readers see",
        "A person published it all the same.",
        "failed: 1.250",
    ],
    _after_a_rejected_one: [
        "Against run 1, the published run before it",
        "The last 2 published runs",
    ],
    _failed: [
        "Failed. Nothing was published.",
        "Error: [Errno 28] No space left on &lt;device&gt;",
        "The run has no lists: it did not come that far.",
        "No check was made",
        "Times were not recorded.",
        "The run has no figures and no lists.",
    ],
    _ready: [
        "Ready, not published. Readers see run 1.",
        "Users keep 5.00 of their 5 blend films of run 1",
    ],
    _by_score: [
        "the blend before unlike films are preferred",
        "predicts from the genres of a film only",
    ],
    _with_fallback: ["shorter listsusers withoutstand-ins blend402184 %"],
    _unmeasured: [
        "Nothing was measured: too few ratings could be held out.",
        "25 users have 4 lists",
    ],
}
"""Odd runs, and what their pages say."""


@pytest.mark.parametrize(
    ("make", "sentences"), ODD.items(), ids=lambda item: getattr(item, "__name__", "")
)
def test_odd_runs_have_a_page_that_says_what_is_missing(
    make: Make,
    sentences: list[str],
    sqlite_nights: Database,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The page of a first, purged, rejected, forced, failed, ready or unmeasured run says so.

    A rejected run is in no trend.
    """
    text = visible_text(page(capsys, str(make(monkeypatch))))
    for sentence in sentences:
        assert sentence in text


@pytest.fixture
def hostile_page(sqlite_nights: Database, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of a third night, fully measured, one gate failed, with titles that attack it."""
    monkeypatch.setattr(steps, "measure", measured)
    monkeypatch.setenv("RECBATCH_GATE__MIN_PRECISION_OF_POPULAR", "1")
    assert [command("-q", "run", "--force") for _ in range(2)] == [0, 0]
    shift_films(sqlite_nights, 2)
    changes = (
        "UPDATE movies SET title = :hostile || movie_key",
        "UPDATE users SET name = :hostile",
        "UPDATE runs SET data_sha256 = '<script>alert(3)</script>'",
        "UPDATE run_checks SET name = '<img src=y>' WHERE name = 'ratings'",
    )
    with sqlite_nights.writer.begin() as connection:
        for change in changes:
            connection.execute(text(change), {"hostile": HOSTILE} if ":hostile" in change else {})
    assert command("-q", "report", "-o", "page.html") == 0
    return Path("page.html")


def test_the_page_needs_nothing_from_elsewhere(hostile_page: Path) -> None:
    """The page has no address, script or file, and its policy forbids all but its own style."""
    html = hostile_page.read_text(encoding="utf-8")
    assert "http:" not in html
    assert "https:" not in html
    assert "//" not in html
    tags = " ".join(re.findall(r"<[^>]*>", html))
    assert set(re.findall(r"<script|<img|<link|<iframe|<object| src=| on\w+=", tags)) == set()
    targets = re.findall(r"(?:href=\"|url\()([^\")]*)", html)
    assert all(target.startswith("#") for target in targets)
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert f'content="{policy}"' in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; ⟨202E⟩evil⟨0007⟩ " in html
    assert "{{ 7 * 7 }}" in html
    assert "\u202e" not in html


def test_the_same_run_gives_the_same_bytes(hostile_page: Path) -> None:
    """Another process, with another order of sets, writes the same page."""
    before = hostile_page.read_bytes()
    program = [sys.executable, "-m", "batch", "-q", "report", "-o", "again.html"]
    subprocess.run(program, check=True, capture_output=True)
    assert Path("again.html").read_bytes() == before


def test_hidden_characters_become_visible() -> None:
    """Control characters are written as codes; what scripts and emoji need is left."""
    assert visible("a\u202eb\u2066c\u0000d\u2028e\ufeff") == "a⟨202E⟩b⟨2066⟩c⟨0000⟩d⟨2028⟩e⟨FEFF⟩"
    harmless = "Amélie, 七人の侍, नमस्\u200dते, 👩\u200d🚀"
    assert visible(harmless) == harmless


def test_a_chart_is_text_in_the_colours_of_the_page() -> None:
    """A chart has its figures in words, names as they are, own ids and the page's colours only."""
    models = [Dot("a$b$<c>", 0.25, 0.125, 0.5), Dot("bias", 0.75, baseline=True)]
    svg = dots("one", models, decimals, zero=True)
    assert 'aria-label="a$b$&lt;c&gt; 0.250 (0.125 to 0.500); bias 0.750"' in svg
    assert ">a$b$&lt;c&gt;</text>" in svg
    variables = {f"var(--{name})" for name in ("ink", "quiet", "rule", "accent", "paper")}
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) <= {"none", *variables}
    ids = re.findall(r' id="([^"]+)"', svg)
    assert all(own_id.startswith("one-") for own_id in ids)
    assert set(re.findall(r'href="#([^"]+)"', svg)) <= set(ids)


def test_shares_have_two_significant_digits() -> None:
    """A share keeps two significant digits, and 0 is 0."""
    texts = {
        0: "0\u202f%",
        0.00046: "0.046\u202f%",
        0.0015: "0.15\u202f%",
        0.0461: "4.6\u202f%",
        0.0996: "10\u202f%",
        1: "100\u202f%",
    }
    assert {value: share(value) for value in texts} == texts


PROBLEMS = """(() => {
  const problems = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) problems.push(`${root.scrollWidth} px wide in ${innerWidth}`);
  if (document.scripts.length || all('img, iframe, object, embed').length)
    problems.push('foreign parts');
  if (root.lang !== 'en' || !document.title) problems.push('no language or title');
  for (const tag of ['header', 'nav', 'main', 'footer', 'h1'])
    if (all(tag).length !== 1) problems.push(`${all(tag).length} of ${tag}`);
  let level = 1;
  for (const heading of all('h1, h2, h3, h4')) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) problems.push(`h${next} under h${level}: ${heading.textContent}`);
    level = next;
  }
  for (const image of all('[role=img], svg'))
    if (!image.getAttribute('aria-label') || image.getAttribute('role') !== 'img')
      problems.push('no words for a picture');
  for (const table of all('table')) {
    if (!table.caption || !table.caption.textContent.trim())
      problems.push('a table without a caption');
    for (const head of table.querySelectorAll('th'))
      if (!head.scope) problems.push(`no scope: ${head.textContent}`);
  }
  const ids = all('[id]').map((element) => element.id);
  if (new Set(ids).size !== ids.length) problems.push('an id twice');
  for (const link of all('a, use')) {
    const target = link.getAttribute('href');
    if (!document.getElementById(target.slice(1))) problems.push(`${target} leads nowhere`);
  }
  for (const box of all('.scroll'))
    if (!box.getAttribute('aria-label') || box.tabIndex !== 0)
      problems.push('a box no keyboard can move');
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => numbers(colour).slice(0, 3).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const contrast = (element, colour) => {
    const [low, high] = [luminance(colour), luminance(background(element))].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  for (const element of all('body *')) {
    const nodes = [...element.childNodes];
    const hasText = nodes.some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!hasText || element.closest('style')) continue;
    const style = getComputedStyle(element);
    const colour = element.closest('svg') ? style.fill : style.color;
    const ratio = contrast(element, colour);
    if (ratio < 4.5) problems.push(`contrast ${ratio.toFixed(2)}: ${element.textContent}`);
  }
  for (const mark of all('svg path:not(defs *), svg use')) {
    const style = getComputedStyle(mark);
    const colour = style.stroke !== 'none' ? style.stroke : style.fill;
    const faint = /stroke: var\\(--(rule|paper)\\)/.test(mark.getAttribute('style'));
    if (colour === 'none' || faint || Number(style.fillOpacity) < 1) continue;
    if (contrast(mark, colour) < 3)
      problems.push(`a faint mark: ${mark.outerHTML.slice(0, 200)}`);
  }
  for (const image of all('svg')) {
    const frame = image.getBoundingClientRect();
    const boxes = [...image.querySelectorAll('text')]
      .map((element) => [element.textContent, element.getBoundingClientRect()]);
    for (const [text, box] of boxes) {
      const horizontal = Math.min(box.left - frame.left, frame.right - box.right);
      const vertical = Math.min(box.top - frame.top, frame.bottom - box.bottom);
      if (Math.min(horizontal, vertical) < -1) problems.push(`cut off: ${text}`);
    }
    boxes.forEach(([text, box], place) => boxes.slice(place + 1).forEach(([other, next]) => {
      const wide = Math.min(box.right, next.right) - Math.max(box.left, next.left);
      const high = Math.min(box.bottom, next.bottom) - Math.max(box.top, next.top);
      if (wide > 1 && high > 4) problems.push(`one over the other: ${text} and ${other}`);
    }));
  }
  return problems;
})()"""
"""What is wrong with a page as a browser shows it, in words: a list that must be empty."""


@pytest.mark.skipif(chromium.program() is None, reason=f"none of {', '.join(chromium.NAMES)} here")
def test_a_browser_shows_it_on_a_phone_and_a_desk_by_day_and_night(
    hostile_page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 390 and 1280 pixels, light and dark, with short and long lists, the page is sound.

    Nothing runs out of the page or of a chart, nothing lacks words, contrast or structure, the
    network is not used, and the browser logs no complaint.
    """
    monkeypatch.setenv("RECBATCH_PUBLISH__TOP_N", "20")
    assert [command("-q", "run", "--force") for _ in range(2)] == [0, 0]
    assert command("-q", "report", "-o", "long.html") == 0
    assert command("-q", "report", "1", "-o", "bare.html") == 0
    pages = [hostile_page, Path("long.html"), Path("bare.html")]
    is_dark = "matchMedia('(prefers-color-scheme: dark)').matches"
    with chromium.browser() as tab:
        for file, width, scheme in product(pages, (390, 1280), ("light", "dark")):
            tab.open(file, width, scheme)
            assert tab.evaluate(PROBLEMS) == [], (file, width, scheme)
            assert tab.evaluate("innerWidth") == width
            assert tab.evaluate(is_dark) == (scheme == "dark")
        assert tab.complaints == []
        assert set(tab.requested) == {file.resolve().as_uri() for file in pages}
