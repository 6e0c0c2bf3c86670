"""Numbers, times and names from the tables -> text for people."""

import unicodedata
from datetime import UTC, date, datetime
from math import floor, log10

from markupsafe import Markup

MODELS = {
    "blend": "learnt every night from the other models",
    "blend_by_score": "the blend before unlike films are preferred",
    "user_user": "what people who rate alike rated",
    "item_item": "films that the same people like",
    "neural": "predicts from the genres of a film only",
    "popular": "the films most rated lately, for everyone",
    "popular_all": "the most rated films, for everyone",
    "bias": "means of the user and of the film",
}
CUTS = {
    "next": "the newest ratings",
    "own": "a fifth of each user's ratings",
}
"""What was held out, by cut."""
GATES = {
    "users_share": "Users with a list ÷ those of the published run",
    "rows_share": "Rows ÷ those of the published run",
    "films_share": "Different films ÷ those of the published run",
    "rmse_of_bias": "RMSE ÷ RMSE of bias",
    "precision_of_popular": "Precision ÷ precision of popular films",
    "rmse_of_published": "RMSE ÷ RMSE of the published run",
    "precision_of_published": "Precision ÷ precision of the published run",
    "churn": "Share of users who keep no film",
    "outcome_of_popular": "Precision of the published lists since ÷ that of popular films",
    "users_judged": "Users who liked a held-out film",
}
GLOSSARY = {
    "precision, recall": "The share of a list that was liked; the share of what was liked that "
    "the list holds. Liked is a held-out rating as high as the settings ask.",
    "NDCG, MAP": "The same with more weight on the first places; 1 is a perfect list.",
    "hit rate": "Share of users with at least one liked film in their list.",
    "RMSE, MAE": "How far predicted stars are from actual ones: root of the mean square, and mean.",
    "fallback": "Share of held-out ratings for which the model had no evidence, so that its "
    "baseline was used.",
    "stand-ins": "Share of all places in lists that popular films take, where the model had no "
    "prediction.",
    "95 % interval": "What the figure would be between if other users of the same kind had been "
    "there. Models whose intervals overlap may be equally good.",
    "popularity": "Ratings of a listed film as multiples of those of an average rated film: "
    "1× means that popular films are not preferred.",
    "novelty": "How few users rated the listed films, in bits: 1 bit more is half as many.",
    "Gini": "0 where all films are listed equally often, towards 1 where a few take all places.",
    "diversity": "How different the genres within a list are: 0 all the same, 1 nothing in common.",
}
STEPS = {
    "load": "load",
    "evaluate": "measure",
    "fit": "fit",
    "score": "score, write",
    "similar": "similar films",
    "outcome": "earlier runs",
}
JOINERS = {"\u200c", "\u200d"}
"""Invisible, and part of how some scripts and emoji are written."""
HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of control and format characters, unassigned ones and line separators."""


def visible(text: str) -> str:
    """Text with control characters, and those that change its direction, as ⟨code⟩."""
    return "".join(f"⟨{ord(char):04X}⟩" if _hidden(char) else char for char in text)


def _hidden(char: str) -> bool:
    return unicodedata.category(char) in HIDDEN_CATEGORIES and char not in JOINERS


def title(text: str) -> Markup:
    """Text from outside for the page: escaped, visible, and with a direction of its own."""
    return Markup("<bdi>{}</bdi>").format(visible(text))


def count(value: float) -> str:
    """12345 -> 12,345"""
    return f"{value:,.0f}"


def share(value: float) -> str:
    """0.461 -> 46 %, 0.0461 -> 4.6 %, 0.000461 -> 0.046 %: two significant digits."""
    percent = 100 * value
    digits = 0
    if percent != 0 and percent < 9.95:
        digits = max(1, 1 - floor(log10(abs(percent))))
    return f"{percent:.{digits}f}\u202f%"


def whole_share(value: float) -> str:
    """0.0461 -> 5 %, and <1 % for anything above 0."""
    return "<1\u202f%" if 0 < value < 0.005 else f"{100 * value:.0f}\u202f%"


def decimals(value: float) -> str:
    """0.12345 -> 0.123"""
    return f"{value:.3f}"


def two(value: float) -> str:
    """0.12345 -> 0.12"""
    return f"{value:.2f}"


def times(value: float) -> str:
    """2.34 -> 2.3×"""
    return f"{value:.1f}×"


def signed(value: float) -> str:
    """+0.12, −0.03"""
    return f"{value:+.2f}".replace("-", "−")


def ratio(value: float) -> str:
    """1.234567 -> 1.235, 12345 -> 12,345: no decimals of large values."""
    return decimals(value) if abs(value) < 1000 else count(value)


def figure(value: float) -> str:
    """1234.5 -> 1,234, 0.00012345 -> 0.000123: three significant digits at least."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def day(value: date) -> str:
    """25 November 2026"""
    return f"{value.day} {value:%B %Y}"


def moment(value: datetime) -> str:
    """25 November 2026, 02:31 UTC"""
    return f"{day(value)}, {value:%H:%M} UTC"


def moment_of_seconds(seconds: int) -> str:
    """Seconds since 1970 -> 25 November 2026, 02:31 UTC"""
    return moment(datetime.fromtimestamp(seconds, UTC))


def duration(seconds: float) -> str:
    """0.4 s, 41 s, 12 min, 1.5 h"""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5970:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def memory(megabytes: float) -> str:
    """888 MB, 4.1 GB"""
    return f"{megabytes:.0f} MB" if megabytes < 999.5 else f"{megabytes / 1000:.1f} GB"


def check(name: str) -> str:
    """rows_missing_or_extra -> Rows missing or extra"""
    return GATES.get(name) or name.replace("_", " ").capitalize()
