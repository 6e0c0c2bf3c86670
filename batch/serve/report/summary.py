"""Facts -> the sentences that someone with half a minute reads."""

from typing import NamedTuple

from batch.serve.report import words
from batch.serve.report.facts import Facts
from batch.store.runs import Run


class Status(NamedTuple):
    """How the run ended, for a reader; `kind` is a class of page.css."""

    kind: str
    word: str
    rest: str


def status(run: Run, published: Run | None) -> Status:
    """What became of the run, and what readers see."""
    readers = f"Readers see run {published.run_id}." if published else "Readers see nothing yet."
    if run.current_since:
        return Status(
            "", "Published.", f"It is what readers see, since {words.moment(run.current_since)}."
        )
    if run.purged_at:
        return Status(
            "wait", "Purged.", f"Its lists were deleted on {words.day(run.purged_at)}. {readers}"
        )
    told = {
        "published": Status("wait", "No longer current.", readers),
        "ready": Status("wait", "Ready, not published.", readers),
        "rejected": Status(
            "bad", "Rejected: a check refused it.", f"Nothing was published. {readers}"
        ),
        "failed": Status("bad", "Failed.", f"Nothing was published. {readers}"),
        "abandoned": Status(
            "bad", "Ended before it was done.", f"Nothing was published. {readers}"
        ),
        "running": Status("wait", "Still at work, or its process has died.", readers),
    }
    return told.get(run.status, Status("wait", run.status, readers))


def short(facts: Facts) -> list[str]:
    """What matters most, in a few sentences; each only where there is something to say."""
    return [
        line
        for line in (_reach(facts), _hits(facts), _stars(facts), _churn(facts), verdict(facts))
        if line
    ]


def _reach(facts: Facts) -> str:
    if not facts.lists or facts.run.n_ratings is None:
        return ""
    users = max(found.users for found in facts.lists.values())
    people = f"{words.count(users)} user{'s have' if users != 1 else ' has'}"
    lists = (
        f"{len(facts.lists)} list{'s' * (len(facts.lists) != 1)} of up to {facts.run.top_n} films"
    )
    return f"{people} {lists} each, learnt from {words.count(facts.run.n_ratings)} ratings."


def _hits(facts: Facts) -> str:
    n, lead = facts.run.top_n, facts.lead
    own, popular = facts.metric(lead, f"precision@{n}"), facts.metric("popular", f"precision@{n}")
    if own is None:
        return ""
    told = f"In tests, a list of {n} by {lead} held {words.two(own * n)} films that its user was about to like"
    if popular:
        told += f", {words.figure(own / popular)} times as many as the {n} most rated films would"
    return f"{told}.{_gain(facts)}"


def _gain(facts: Facts) -> str:
    """By how much the blend beats the best of its models: paired by user, which intervals side by side cannot show."""
    n = facts.run.top_n
    gains = [facts.metric("blend", f"precision_gain{end}@{n}") for end in ("", "_low", "_high")]
    if facts.lead != "blend" or any(gain is None for gain in gains):
        return ""
    mean, low, high = (words.signed((gain or 0.0) * n) for gain in gains)
    return f" Beside the best single model that is {mean} films ({low} to {high})."


def _stars(facts: Facts) -> str:
    lead = facts.lead
    own, bias = facts.metric(lead, "rmse"), facts.metric("bias", "rmse")
    if own is None:
        return ""
    against = f"; user and film means alone are off by {words.two(bias)}" if bias else ""
    return f"Its stars are off by {words.two(own)} (RMSE){against}."


def _churn(facts: Facts) -> str:
    lead = facts.lead
    if facts.churn is None or lead not in facts.churn.kept:
        return ""
    by_films, ranks = facts.churn.kept[lead], facts.churn.ranks
    users = sum(by_films.values())
    mean = sum(films * count for films, count in by_films.items()) / users
    lost = by_films.get(0, 0)
    none = f"{words.whole_share(lost / users)} of them keep" if lost else "nobody keeps"
    kept = f"{words.two(mean)} of their {ranks} {lead} films of run {facts.churn.run_id}"
    return f"Users keep {kept} on average; {none} {'none' if lost else 'nothing'}."


def verdict(facts: Facts) -> str:
    """How many checks passed; which did not, by the names that the tables and the log have."""
    if not facts.checks:
        return ""
    failed = [check.name for check in facts.failed]
    if not failed:
        forced = " It was run with --force, which nothing needed." if facts.run.forced else ""
        return f"All {len(facts.checks)} checks passed.{forced}"
    over = " A person published it all the same." if facts.run.forced else ""
    return f"{len(failed)} of {len(facts.checks)} checks failed: {', '.join(failed)}.{over}"


def unlisted(run: Run) -> str:
    """Why there is no list to tell of; empty where there are lists."""
    if run.has_lists:
        return ""
    return (
        "Its lists were purged."
        if run.purged_at
        else "The run has no lists: it did not come that far."
    )


def tiles(facts: Facts) -> list[tuple[str, str]]:
    """The largest numbers."""
    run = facts.run
    found = [
        ("users", max((lists.users for lists in facts.lists.values()), default=run.n_users)),
        ("films", run.n_movies),
        ("ratings", run.n_ratings),
        ("rows of lists", run.rows_written),
    ]
    return [(name, words.count(value)) for name, value in found if value is not None]


def details(run: Run) -> list[tuple[str, str]]:
    """Everything else that `runs` knows."""
    by = {
        "manual": "a person",
        "schedule": "the schedule",
        "catchup": "the schedule, making up a missed night",
    }
    taken = (
        words.duration((run.finished_at - run.started_at).total_seconds())
        if run.finished_at
        else ""
    )
    until = run.known_until
    found = [
        ("Night", words.day(run.logical_date)),
        (
            "Started",
            f"{words.moment(run.started_at)}, by {by.get(run.triggered_by, run.triggered_by)}",
        ),
        ("Ended", f"{words.moment(run.finished_at)}, after {taken}" if run.finished_at else ""),
        ("Status", run.status),
        ("First published", words.moment(run.published_at) if run.published_at else "never"),
        ("Forced", "yes, over its gates if need be" if run.forced else "no"),
        ("Ratings known", "all there were" if until is None else f"before {words.known(until)}"),
        ("Scale", f"{run.scale[0]:g} to {run.scale[1]:g} stars" if run.scale else ""),
        ("Films in a list", f"{run.top_n} at most"),
        ("Seed", str(run.seed)),
        ("Settings, SHA-256", run.config_sha256),
        ("Ratings, SHA-256", run.data_sha256 or ""),
        ("Versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())),
    ]
    return [(name, value) for name, value in found if value]
