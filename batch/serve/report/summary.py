"""Facts -> the sentences, large numbers and details around the tables and charts."""

from typing import NamedTuple

from batch.serve.report import words
from batch.serve.report.facts import Facts
from batch.store.runs import Run

POPULAR = ("popular", "popular_all")
"""The baselines that lists are compared with."""
TRIGGERS = {
    "manual": "a person",
    "schedule": "the schedule",
    "catchup": "the schedule, making up a missed night",
}
"""Values of `runs.triggered_by` in words."""


class Status(NamedTuple):
    """How the run ended, for a reader; `kind` is a class of page.css."""

    kind: str
    word: str
    rest: str


def status(run: Run, published: Run | None) -> Status:
    """How the run ended, and which run readers see."""
    readers = f"Readers see run {published.run_id}." if published else "Readers see nothing yet."
    if run.current_since:
        since = words.moment(run.current_since)
        return Status("", "Published.", f"It is what readers see, since {since}.")
    if run.purged_at:
        purged = f"Its lists were deleted on {words.day(run.purged_at)}."
        return Status("wait", "Purged.", f"{purged} {readers}")
    unpublished = f"Nothing was published. {readers}"
    by_status = {
        "published": Status("wait", "No longer current.", readers),
        "ready": Status("wait", "Ready, not published.", readers),
        "rejected": Status("bad", "Rejected: a check refused it.", unpublished),
        "failed": Status("bad", "Failed.", unpublished),
        "abandoned": Status("bad", "Ended before it was done.", unpublished),
        "running": Status("wait", "Still at work, or its process has died.", readers),
    }
    return by_status.get(run.status, Status("wait", run.status, readers))


def short(facts: Facts) -> list[str]:
    """The most important results, a sentence or two each; without those that were not measured."""
    sentences = (_reach(facts), _precision(facts), _rmse(facts), _churn(facts), verdict(facts))
    return [sentence for sentence in sentences if sentence]


def measured_on(facts: Facts) -> str:
    """What models were measured on, and why on that."""
    metrics = facts.metrics
    if metrics.cut == "next":
        return (
            "Measured on the newest ratings, given after all that the models knew:"
            " what a night meets."
        )
    text = (
        "Measured on a fifth of each user's ratings, the last where times are known."
        " Models knew other people's later ratings, which makes the figures too good"
        " where films rise and fade."
    )
    if "next" in metrics.cuts:
        judged = words.count(metrics.within("next").judged_users)
        text += f" Only {judged} users could be judged on the newest ratings."
    return text


def _reach(facts: Facts) -> str:
    if not facts.lists or facts.run.n_ratings is None:
        return ""
    n_users = max(lists.users for lists in facts.lists.values())
    n_lists = len(facts.lists)
    users = f"{words.count(n_users)} {'user has' if n_users == 1 else 'users have'}"
    lists = f"{n_lists} {'list' if n_lists == 1 else 'lists'} of up to {facts.run.top_n} films"
    return f"{users} {lists} each, learnt from {words.count(facts.run.n_ratings)} ratings."


def _precision(facts: Facts) -> str:
    n = facts.run.top_n
    lead = facts.lead
    precision = facts.metrics.get(lead, "precision")
    if precision is None:
        return ""
    liked = words.two(precision * n)
    text = f"In tests, a list of {n} by {lead} held {liked} films that its user turned out to like"
    baselines = [facts.metrics.get(name, "precision") or 0.0 for name in POPULAR]
    if max(baselines):
        times = words.figure(precision / max(baselines))
        text += f", {times} times as many as the {n} most popular films would"
    return f"{text}.{_gain(facts)}"


def _gain(facts: Facts) -> str:
    """By how much the blend beats the best of its models.

    The interval is of differences by user, which intervals side by side cannot show.
    """
    n = facts.run.top_n
    gain = facts.metrics.get("blend", "precision_gain")
    interval = facts.metrics.interval("blend", "precision_gain")
    if facts.lead != "blend" or gain is None or interval is None:
        return ""
    mean, low, high = (words.signed(value * n) for value in (gain, *interval))
    return f" Compared with the best single model that is {mean} films ({low} to {high})."


def _rmse(facts: Facts) -> str:
    rmse = facts.metrics.get(facts.lead, "rmse")
    if rmse is None:
        return ""
    text = f"Its stars are off by {words.two(rmse)} (RMSE)"
    bias = facts.metrics.get("bias", "rmse")
    if bias:
        text += f"; user and film means alone are off by {words.two(bias)}"
    return f"{text}."


def _churn(facts: Facts) -> str:
    lead = facts.lead
    churn = facts.churn
    if churn is None or lead not in churn.kept:
        return ""
    by_films = churn.kept[lead]
    users = sum(by_films.values())
    mean = sum(films * count for films, count in by_films.items()) / users
    kept = f"{words.two(mean)} of their {churn.ranks} {lead} films of run {churn.run_id}"
    lost = by_films.get(0, 0)
    none = f"{words.whole_share(lost / users)} of them keep none"
    if not lost:
        none = "everyone keeps at least one"
    return f"Users keep {kept} on average; {none}."


def verdict(facts: Facts) -> str:
    """How many checks passed, and the names of those that failed, as in the tables and the log."""
    if not facts.checks:
        return ""
    n = len(facts.checks)
    failed = [check.name for check in facts.failed]
    if not failed:
        text = f"All {n} checks passed."
        forced = "It was run with --force, which was not needed."
    else:
        text = f"{len(failed)} of {n} checks failed: {', '.join(failed)}."
        forced = "A person published it all the same."
    return f"{text} {forced}" if facts.run.forced else text


def without_lists(run: Run) -> str:
    """Why the run has no lists; empty where it has some."""
    if run.has_lists:
        return ""
    if run.purged_at:
        return "Its lists were purged."
    return "The run has no lists: it did not come that far."


def tiles(facts: Facts) -> list[tuple[str, str]]:
    """The largest numbers."""
    run = facts.run
    n_users = max((lists.users for lists in facts.lists.values()), default=run.n_users)
    counts = {
        "users": n_users,
        "films": run.n_movies,
        "ratings": run.n_ratings,
        "rows of lists": run.rows_written,
    }
    return [(name, words.count(value)) for name, value in counts.items() if value is not None]


def details(run: Run) -> list[tuple[str, str]]:
    """The rest of the row in `runs`."""
    started_by = TRIGGERS.get(run.triggered_by, run.triggered_by)
    versions = [f"{name} {version}" for name, version in run.versions.items()]
    texts = {
        "Night": words.day(run.logical_date),
        "Started": f"{words.moment(run.started_at)}, by {started_by}",
        "Ended": _ended(run),
        "Status": run.status,
        "First published": words.moment(run.published_at) if run.published_at else "never",
        "Forced": "yes, over its gates if need be" if run.forced else "no",
        "Ratings known": _known_ratings(run),
        "Scale": f"{run.scale[0]:g} to {run.scale[1]:g} stars" if run.scale else "",
        "Films in a list": f"{run.top_n} at most",
        "Popular films": _popular(run),
        "Seed": str(run.seed),
        "Settings, SHA-256": run.config_sha256,
        "Ratings, SHA-256": run.data_sha256 or "",
        "Versions": ", ".join(versions),
    }
    return [(name, text) for name, text in texts.items() if text]


def _popular(run: Run) -> str:
    """How popular films were ordered, and who gets them only."""
    texts = []
    if run.half_life is not None:
        days = "day" if run.half_life == 1 else "days"
        texts.append(f"a rating counts half after {run.half_life:g} {days}")
    if run.least_ratings is not None and run.least_ratings > 1:
        texts.append(f"in place of lists of users with fewer than {run.least_ratings} ratings")
    return "; ".join(texts)


def _ended(run: Run) -> str:
    if run.finished_at is None:
        return ""
    duration = (run.finished_at - run.started_at).total_seconds()
    return f"{words.moment(run.finished_at)}, after {words.duration(duration)}"


def _known_ratings(run: Run) -> str:
    if run.known_until is None:
        return "all there were"
    return f"before {words.moment_of_seconds(run.known_until)}"
