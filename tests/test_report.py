"""The page about a run: what it tells against the tables, odd runs, hostile text, and how a real browser shows it."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import browser as chromium
from batch.job import steps
from batch.models import PUBLISHED
from batch.ranking.evaluate import Evaluation
from batch.serve.report import facts as tables
from batch.serve.report.charts import Dot, dots
from batch.serve.report.words import decimals, share, visible
from batch.store.database import Database, open_database, upgrade
from faults import Faults, fixed_nights
from fixed import command
from tables import rows

HOSTILE = (
    "<script>alert(1)</script> \u202eevil\u0007 \"'><img src=x onerror=alert(2)> $x$ {{ 7 * 7 }} "
    + "w" * 300
)
NAMES = ("bias", "popular", *PUBLISHED)
"""From worst to best."""


def measured(*_: Any) -> Evaluation:
    """What a night may measure, all of it, a little different for each model."""
    found = {}
    for place, model in enumerate(NAMES):
        hits, rmse = 0.1 + 0.02 * place, 1.0 - 0.03 * place
        found[model] = {
            "users": 25.0, "raters": 25.0, "fallback_share": 0.05, "mae": rmse * 0.8,
            "rmse": rmse, "rmse_low": rmse - 0.05, "rmse_high": rmse + 0.05,
            "precision@5": hits, "precision_low@5": hits * 0.8, "precision_high@5": hits * 1.2,
            "ndcg@5": hits, "ndcg_low@5": hits * 0.8, "ndcg_high@5": hits * 1.2, "recall@5": hits, "map@5": hits,
            "hit_rate@5": 4 * hits, "precision_light@5": hits * 0.5, "precision_heavy@5": hits * 2,
            "coverage@5": 0.1 * place, "popularity_lift@5": 1.0 + place, "novelty@5": 3.0, "gini@5": 0.9,
            "diversity@5": 0.6,
        }  # fmt: skip
    found["blend"] |= {
        "precision_gain@5": 0.02,
        "precision_gain_low@5": -0.01,
        "precision_gain_high@5": 0.05,
    }
    return Evaluation(found, None)


@pytest.fixture
def sqlite_nights(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """One published night of fixed arithmetic, on SQLite: what is tested is beyond the database."""
    database = open_database(sqlite_url)
    upgrade(database)
    with fixed_nights(database, tmp_path, monkeypatch):
        yield database


def gathered(database: Database, run_id: int | None = None) -> tables.Facts:
    with database.reader.connect() as connection:
        return tables.gather(connection, run_id)


def page(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `recbatch report WORDS` writes."""
    capsys.readouterr()
    assert command("-q", "report", *words) == 0
    return Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")


def written(page: str) -> str:
    """A page without its tags, every gap one space."""
    return " ".join(re.sub(r"<[^>]*>", "", page[page.index("<body>") :]).split())


def shifted(database: Database, run_id: int) -> None:
    """Films of a run changed in the tables, so that two runs differ: the second of every list, all of two users'."""
    with database.writer.begin() as connection:
        for where in ("rank = 2", "user_id <= 2"):
            change = f"UPDATE recommendations SET movie_id = movie_id + 1000 WHERE run_id = {run_id} AND {where}"
            connection.execute(text(change))


def test_the_lists_are_counted_as_row_by_row(nights: Faults, database: Database) -> None:
    """Users, rows, films, the share of the ten most listed and the films kept are those of a count in Python."""
    assert command("-q", "run") == 0
    shifted(database, 1)
    told = gathered(database)
    every = rows(database, "SELECT run_id, model, user_id, rank, movie_id FROM recommendations")
    assert set(told.lists) == set(PUBLISHED)
    for model, found in told.lists.items():
        own = [row for row in every if row[:2] == (2, model)]
        films = Counter(row[4] for row in own)
        few = sum(count for _, count in films.most_common(10)) / len(own)
        assert (found.users, found.full, found.rows, found.films) == (25, 25, 125, len(films))
        assert found.few_share == pytest.approx(few)
        before = {
            user: {row[4] for row in every if row[:3] == (1, model, user)}
            for user in {row[2] for row in own}
        }
        kept = Counter(
            len(before[user] & {row[4] for row in own if row[2] == user}) for user in before
        )
        assert told.churn is not None
        assert (told.churn.run_id, told.churn.ranks, told.churn.kept[model]) == (1, 5, dict(kept))
        assert kept == {0: 2, 4: 23}
    titles = dict(rows(database, "SELECT movie_id, title FROM movies"))
    counted = Counter(row[4] for row in every if row[:2] == (2, "blend")).items()
    most = sorted(
        ((titles[film], count) for film, count in counted), key=lambda film: (-film[1], film[0])
    )
    assert [(film.title, film.lists) for film in told.most_listed] == most[:10]


def test_sample_users_see_their_own_lists(nights: Faults, database: Database) -> None:
    """Samples go from who rated least to who rated most, with what they rated and what the tables list for them."""
    told = gathered(database)
    counted = dict(
        rows(
            database,
            "SELECT user_key, count(*) FROM ratings JOIN users USING (user_id) GROUP BY user_key",
        )
    )
    assert [sample.ratings for sample in told.samples] == sorted(
        sample.ratings for sample in told.samples
    )
    assert len(told.samples) == 4
    for sample in told.samples:
        key = sample.name.removeprefix("User ")
        assert sample.ratings == counted[key]
        listed = f"SELECT title FROM current_recommendations WHERE user_key = '{key}' AND model = 'neural' ORDER BY rank"
        assert [(film.title,) for film in sample.lists["neural"]] == rows(database, listed)
        best = (
            f"SELECT max(rating) FROM ratings JOIN users USING (user_id) WHERE user_key = '{key}'"
        )
        assert [(sample.favourites[0][1],)] == rows(database, best)
        assert set(sample.agreed.values()) == {4}  # fixed nights tell the same of every model


def test_the_page_says_what_was_measured(
    sqlite_nights: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures of models and baselines, sentences, trends and checks stand on the page of the newest run."""
    monkeypatch.setattr(steps, "measure", measured)
    assert command("-q", "run") == 0
    told = page(capsys)
    text = written(told)
    assert "Run 2, night of" in text
    assert "Published. It is what readers see" in text
    assert "25 users have 4 lists of up to 5 films each" in text
    assert "a list of 5 by blend held 1.00 films that its user was about to like" in text
    assert "Beside the best single model that is +0.10 films (−0.05 to +0.25)." in text
    assert (
        "Users keep 5.00 of their 5 blend films of run 1 on average; nobody keeps nothing." in text
    )
    assert "checks failed" not in text
    assert "blend_by_score" not in told
    assert re.search(r"All \d+ checks passed\.", text)
    assert 'aria-label="blend 0.200 (0.160 to 0.240); user_user 0.140 (0.112 to 0.168)' in told
    assert (
        'aria-label="run 1 to run 2: blend from 0.200 to 0.200; popular from 0.200 to 0.120"'
        in told
    )
    assert "blend: least 0.100, most 0.400" in told
    assert (
        "blend: 0 0\u202f%, 1 0\u202f%, 2 0\u202f%, 3 0\u202f%, 4 0\u202f%, 5 100\u202f%"
        in told.replace("films kept: ", "")
    )


def test_the_published_run_is_the_default(
    sqlite_nights: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without a run the page is of what readers see, in report-RUN.html; a run and a file can be named."""
    assert command("-q", "run") == 0
    assert command("-q", "rollback") == 0
    capsys.readouterr()
    assert command("-q", "report") == 0
    assert capsys.readouterr().out == "report-1.html\n"
    assert "It is what readers see" in Path("report-1.html").read_text(encoding="utf-8")
    assert command("-q", "report", "2", "-o", str(tmp_path / "two.html")) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'two.html'}\n"
    assert "No longer current. Readers see run 1." in written(
        (tmp_path / "two.html").read_text(encoding="utf-8")
    )


def test_what_cannot_be_told_is_one_line(
    sqlite_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """No such run, nothing published, and a file that cannot be written each end with 1 and one line."""
    monkeypatch.setenv("RECBATCH_DATABASE__URL", sqlite_url)
    upgrade(open_database(sqlite_url))
    monkeypatch.chdir(tmp_path)
    for words, message in (
        (
            [],
            "recbatch: nothing is published yet; run 'recbatch run', or name a run that 'recbatch runs' lists\n",
        ),
        (["7"], "recbatch: there is no run 7; 'recbatch runs' lists them\n"),
    ):
        assert command("-q", "report", *words) == 1
        assert capsys.readouterr() == ("", message)
    assert list(tmp_path.glob("*.html")) == []


def test_a_file_that_cannot_be_written_is_named(
    sqlite_nights: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page that has nowhere to go ends with 1 and the file's name."""
    capsys.readouterr()
    assert command("-q", "report", "-o", "nowhere/page.html") == 1
    assert capsys.readouterr().err == "recbatch: nowhere/page.html: No such file or directory\n"


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


def _after_a_refused_one(patch: pytest.MonkeyPatch) -> int:
    _rejected(patch)
    patch.delenv("RECBATCH_GATE__MIN_PRECISION_OF_POPULAR")
    assert command("-q", "run") == 0
    return 3


def _failed(patch: pytest.MonkeyPatch) -> int:
    def stop(*_: Any) -> None:
        raise OSError(28, "No space left on <device>")

    patch.setattr(steps, "measure", stop)
    assert command("-q", "run") == 1
    return 2


def _ready(_: pytest.MonkeyPatch) -> int:
    assert command("-q", "run", "--no-publish") == 0
    return 2


def _unmeasured(patch: pytest.MonkeyPatch) -> int:
    patch.setattr(steps, "measure", lambda *_: Evaluation({}, None))
    assert command("-q", "run", "--force") == 0
    return 2


def _by_score(patch: pytest.MonkeyPatch) -> int:
    found = measured().metrics
    patch.setattr(
        steps, "measure", lambda *_: Evaluation({**found, "blend_by_score": found["blend"]}, None)
    )
    assert command("-q", "run", "--force") == 0
    return 2


def _standing_in(patch: pytest.MonkeyPatch) -> int:
    patch.setenv("RECBATCH_PUBLISH__LEAST_RATINGS", "14")
    assert command("-q", "run", "--force") == 0
    return 2


ODD: list[tuple[Callable[[pytest.MonkeyPatch], int], tuple[str, ...]]] = [
    (_first, ("Published.", "No trend: no other run", "Nothing to compare with: no published run before this one")),
    (_purged, ("Purged. Its lists were deleted on", "Its lists were purged.", "Readers see run 4.", "0.200")),
    (_rejected, ("Rejected: a check refused it. Nothing was published. Readers see run 1.", "failed: 1.250",
                 "3 of 39 checks failed: precision_of_popular_blend, ")),
    (_forced, ("Published. It is what readers see", "A person published it all the same.", "failed: 1.250")),
    (_after_a_refused_one, ("Against run 1, the published run before it", "The last 2 published runs")),
    (_failed, ("Failed. Nothing was published.", "It says: [Errno 28] No space left on &lt;device&gt;",
               "The run has no lists: it did not come that far.", "No check was made", "Times were not recorded.",
               "There is little to tell")),
    (_ready, ("Ready, not published. Readers see run 1.", "Users keep 5.00 of their 5 blend films of run 1")),
    (_by_score, ("the blend before unlike films are preferred", "knows films by their genres only")),
    (_standing_in, ("shorter listsusers withoutstand-ins blend402184 %",)),
    (_unmeasured, ("Nothing was measured: too few ratings could be held out.", "25 users have 4 lists")),
]  # fmt: skip


@pytest.mark.parametrize(("make", "says"), ODD, ids=[make.__name__ for make, _ in ODD])
def test_odd_runs_have_a_page_that_says_what_is_absent(
    make: Callable[[pytest.MonkeyPatch], int], says: tuple[str, ...], sqlite_nights: Database,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A run that is the first, purged, rejected, forced, failed, ready or not measured is told as what it is;
    what was refused is in no trend."""
    told = written(page(capsys, str(make(monkeypatch))))
    for sentence in says:
        assert sentence in told, sentence


@pytest.fixture
def spoilt(sqlite_nights: Database, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of a third night, all measured and one gate failed, whose titles and names attack it."""
    monkeypatch.setattr(steps, "measure", measured)
    monkeypatch.setenv("RECBATCH_GATE__MIN_PRECISION_OF_POPULAR", "1")
    assert [command("-q", "run", "--force") for _ in range(2)] == [0, 0]
    shifted(sqlite_nights, 2)
    with sqlite_nights.writer.begin() as connection:
        connection.execute(
            text("UPDATE movies SET title = :title || movie_key"), {"title": HOSTILE}
        )
        connection.execute(text("UPDATE users SET name = :name"), {"name": HOSTILE})
        connection.execute(text("UPDATE runs SET data_sha256 = '<script>alert(3)</script>'"))
        connection.execute(
            text("UPDATE run_checks SET name = '<img src=y>' WHERE name = 'ratings'")
        )
    assert command("-q", "report", "-o", "page.html") == 0
    return Path("page.html")


def test_nothing_of_the_page_is_elsewhere(spoilt: Path) -> None:
    """The page names no address, no script and no file, and its policy forbids all but its own style."""
    told = spoilt.read_text(encoding="utf-8")
    assert "http:" not in told
    assert "https:" not in told
    assert "//" not in told
    tags = " ".join(re.findall(r"<[^>]*>", told))
    assert set(re.findall(r"<script|<img|<link|<iframe|<object| src=| on\w+=", tags)) == set()
    assert all(target.startswith("#") for target in re.findall(r"(?:href=\"|url\()([^\")]*)", told))
    assert (
        "content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\""
        in told
    )
    assert "&lt;script&gt;alert(1)&lt;/script&gt; ⟨202E⟩evil⟨0007⟩ " in told
    assert "{{ 7 * 7 }}" in told
    assert "\u202e" not in told


def test_the_same_run_gives_the_same_bytes(spoilt: Path) -> None:
    """Another process, with another order of sets, writes the same page."""
    told = spoilt.read_bytes()
    program = [sys.executable, "-m", "batch", "-q", "report", "-o", "again.html"]
    subprocess.run(program, check=True, capture_output=True)
    assert Path("again.html").read_bytes() == told


def test_hidden_signs_are_spelt_out() -> None:
    """Controls and signs that turn the direction of text are shown, what scripts and emoji need is left."""
    assert visible("a\u202eb\u2066c\u0000d\u2028e\ufeff") == "a⟨202E⟩b⟨2066⟩c⟨0000⟩d⟨2028⟩e⟨FEFF⟩"
    assert (
        visible("Amélie, 七人の侍, नमस्\u200dते, 👩\u200d🚀")
        == "Amélie, 七人の侍, नमस्\u200dते, 👩\u200d🚀"
    )


def test_a_chart_is_text_in_the_colours_of_the_page() -> None:
    """A chart says its figures, takes names as they are, has ids of its own and no colour but the page's."""
    drawn = dots(
        "one",
        [Dot("a$b$<c>", 0.25, 0.125, 0.5), Dot("bias", 0.75, baseline=True)],
        decimals,
        zero=True,
    )
    assert 'aria-label="a$b$&lt;c&gt; 0.250 (0.125 to 0.500); bias 0.750"' in drawn
    assert ">a$b$&lt;c&gt;</text>" in drawn
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawn)) <= {
        "none", "var(--ink)", "var(--quiet)", "var(--rule)", "var(--accent)", "var(--paper)",
    }  # fmt: skip
    assert all(name.startswith("one-") for name in re.findall(r' id="([^"]+)"', drawn))
    assert set(re.findall(r'href="#([^"]+)"', drawn)) <= set(re.findall(r' id="([^"]+)"', drawn))


def test_shares_say_no_more_and_no_less_than_they_are() -> None:
    """A share keeps two digits that count, and nothing is never shown as something."""
    assert [share(value) for value in (0, 0.00046, 0.0015, 0.0461, 0.0996, 1)] == [
        "0\u202f%", "0.046\u202f%", "0.15\u202f%", "4.6\u202f%", "10\u202f%", "100\u202f%",
    ]  # fmt: skip


LOOK = """(() => {
  const wrong = [];
  const all = (what) => [...document.querySelectorAll(what)];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) wrong.push(`${root.scrollWidth} px wide in ${innerWidth}`);
  if (document.scripts.length || all('img, iframe, object, embed').length) wrong.push('foreign parts');
  if (root.lang !== 'en' || !document.title) wrong.push('no language or title');
  for (const mark of ['header', 'nav', 'main', 'footer', 'h1'])
    if (all(mark).length !== 1) wrong.push(`${all(mark).length} of ${mark}`);
  let level = 1;
  for (const head of all('h1, h2, h3, h4')) {
    const own = Number(head.tagName[1]);
    if (own > level + 1) wrong.push(`h${own} under h${level}: ${head.textContent}`);
    level = own;
  }
  for (const image of all('[role=img], svg'))
    if (!image.getAttribute('aria-label') || image.getAttribute('role') !== 'img') wrong.push('no words for a picture');
  for (const table of all('table')) {
    if (!table.caption || !table.caption.textContent.trim()) wrong.push('a table without a caption');
    for (const head of table.querySelectorAll('th')) if (!head.scope) wrong.push(`no scope: ${head.textContent}`);
  }
  const ids = all('[id]').map((one) => one.id);
  if (new Set(ids).size !== ids.length) wrong.push('an id twice');
  for (const link of all('a, use')) {
    const target = link.getAttribute('href');
    if (!document.getElementById(target.slice(1))) wrong.push(`${target} leads nowhere`);
  }
  for (const box of all('.scroll'))
    if (!box.getAttribute('aria-label') || box.tabIndex !== 0) wrong.push('a box no keyboard can move');
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const contrast = (one, colour) => {
    const [low, high] = [light(colour), light(behind(one))].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  for (const one of all('body *')) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || one.closest('style')) continue;
    const style = getComputedStyle(one);
    const found = contrast(one, one.closest('svg') ? style.fill : style.color);
    if (found < 4.5) wrong.push(`contrast ${found.toFixed(2)}: ${one.textContent}`);
  }
  for (const mark of all('svg path:not(defs *), svg use')) {
    const style = getComputedStyle(mark);
    const colour = style.stroke !== 'none' ? style.stroke : style.fill;
    const faint = /stroke: var\\(--(rule|paper)\\)/.test(mark.getAttribute('style'));
    if (colour === 'none' || faint || Number(style.fillOpacity) < 1) continue;
    if (contrast(mark, colour) < 3) wrong.push(`a faint mark: ${mark.outerHTML.slice(0, 200)}`);
  }
  for (const image of all('svg')) {
    const frame = image.getBoundingClientRect();
    const boxes = [...image.querySelectorAll('text')].map((one) => [one.textContent, one.getBoundingClientRect()]);
    for (const [told, box] of boxes)
      if (Math.min(box.left - frame.left, frame.right - box.right, box.top - frame.top, frame.bottom - box.bottom) < -1)
        wrong.push(`cut off: ${told}`);
    boxes.forEach(([told, box], place) => boxes.slice(place + 1).forEach(([other, next]) => {
      const wide = Math.min(box.right, next.right) - Math.max(box.left, next.left);
      const high = Math.min(box.bottom, next.bottom) - Math.max(box.top, next.top);
      if (wide > 1 && high > 4) wrong.push(`one over the other: ${told} and ${other}`);
    }));
  }
  return wrong;
})()"""
"""What is wrong with a page as it is shown, in words: a list that must be empty."""


def test_a_browser_shows_it_on_a_phone_and_a_desk_by_day_and_night(
    spoilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 390 and 1280 pixels, light and dark, lists long and short: nothing runs out of the page or of a chart,
    nothing lacks words, contrast or structure, the network is asked nothing, and the browser complains of nothing."""
    if chromium.found() is None:
        pytest.skip(f"no browser here: none of {', '.join(chromium.NAMES)}")
    monkeypatch.setenv("RECBATCH_PUBLISH__TOP_N", "20")
    assert [command("-q", "run", "--force") for _ in range(2)] == [0, 0]
    assert command("-q", "report", "-o", "long.html") == 0
    assert command("-q", "report", "1", "-o", "bare.html") == 0
    pages = [spoilt, Path("long.html"), Path("bare.html")]
    with chromium.browser() as tab:
        for file in pages:
            for width in (390, 1280):
                for scheme in ("light", "dark"):
                    tab.open(file, width, scheme)
                    assert tab.ask(LOOK) == [], (file, width, scheme)
                    assert tab.ask("innerWidth") == width
                    assert tab.ask("matchMedia('(prefers-color-scheme: dark)').matches") == (
                        scheme == "dark"
                    )
        assert tab.complaints == []
        assert set(tab.asked_for) == {file.resolve().as_uri() for file in pages}
