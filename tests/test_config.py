"""Settings: the shipped file, the environment over it, limits, and clear errors."""

import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from batch.config import Config, ConfigError, load_config, shipped_text
from batch.job import nightly
from batch.job.nightly import Order
from batch.params import PRESETS, ItemNeighbourhood, Models, Neighbourhood, Neural
from batch.store.database import open_database
from batch.store.versions import upgrade
from data import fill, random_rows, settings
from fixed import command
from tables import rows


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path) -> Iterator[None]:
    """Not in the checkout, whose config.yaml would be read each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        yield


def test_the_shipped_file_holds_the_defaults() -> None:
    """config.yaml has the values that the program uses without it."""
    shipped = load_config(Path(__file__).parents[1] / "config.yaml", {})
    assert shipped == Config()
    assert shipped.preset == "tuned"


def test_the_shipped_file_shows_every_setting() -> None:
    """Every setting is in config.yaml, and those of models with the values of both presets."""
    content = yaml.safe_load(shipped_text())
    for section, field in Config.model_fields.items():
        if section in ("preset", "models"):
            continue
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            assert content[section] == field.default  # a setting without a section
            continue
        names = {inner.alias or name for name, inner in model.model_fields.items()}
        assert set(content[section]) == names
    assert content["models"]["preset"] == "tuned"
    model_types: dict[str, type[BaseModel]] = {
        "user_user": Neighbourhood,
        "item_item": ItemNeighbourhood,
        "neural": Neural,
    }
    assert list(model_types) == list(Models.model_fields)
    for name, model_type in model_types.items():
        comments = comments_of(name)
        for knob in model_type.model_fields:
            plain, tuned = (shown(getattr(PRESETS[preset], name), knob) for preset in PRESETS)
            line = rf"# {knob}: {re.escape(plain)} \| {re.escape(tuned)}(\s|$)"
            assert re.search(line, comments), (name, knob)


def comments_of(model: str) -> str:
    """The part of config.yaml below a model's name."""
    after = shipped_text().split(f"\n  {model}:\n")[1]
    return re.split(r"\n(?:  )?\w+:\n", after)[0]


def shown(knobs: BaseModel, name: str) -> str:
    """A value as config.yaml has it: whole numbers without a point."""
    return re.sub(r"\.0$", "", f"{getattr(knobs, name)}")


def test_a_preset_is_a_full_set_of_defaults() -> None:
    """`models.preset` sets every setting of the models, and one that is set beside it wins."""
    preset = {"RECBATCH_MODELS__PRESET": "plain"}
    assert load_config(None, preset).models == PRESETS["plain"]
    override = {"RECBATCH_MODELS__ITEM_ITEM__NEIGHBOURS": "30"}
    config = load_config(None, preset | override)
    expected = PRESETS["plain"].item_item.model_copy(update={"neighbours": 30})
    assert config.models.item_item == expected
    assert config.models.user_user == PRESETS["plain"].user_user


def test_the_environment_wins_over_the_file(write: Callable[..., Path]) -> None:
    """A RECBATCH_ variable overrides the file, key by key."""
    file = write("config.yaml", "publish: {top_n: 7, keep_runs: 3}\n")
    config = load_config(file, {"RECBATCH_PUBLISH__TOP_N": "9", "OTHER": "1"})
    assert (config.publish.top_n, config.publish.keep_runs) == (9, 3)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("RECBATCH_INGEST__PATHS", "[a.csv, b.csv]", (Path("a.csv"), Path("b.csv"))),
        ("RECBATCH_INGEST__PATHS", "a.csv", (Path("a.csv"),)),
        ("RECBATCH_INGEST__PATHS", "", ()),
        ("RECBATCH_INGEST__SCALE", "[0.5, 5]", (0.5, 5.0)),
        ("RECBATCH_INGEST__SCALE", "null", None),
    ],
)
def test_lists_from_the_environment(name: str, value: str, expected: object) -> None:
    """Lists and null are written in the environment as in YAML."""
    ingest = load_config(None, {name: value}).ingest
    assert getattr(ingest, name.split("__")[1].lower()) == expected


def test_secrets_may_be_in_files(write: Callable[..., Path]) -> None:
    """A variable that ends in _FILE names a file with the value; a missing file is an error."""
    secret = write("secret", "postgresql://me:canary@db/films\n")
    config = load_config(None, {"RECBATCH_DATABASE__URL_FILE": str(secret)})
    assert config.database.url.endswith("canary@db/films")
    with pytest.raises(ConfigError, match="RECBATCH_DATABASE__URL_FILE: /nowhere: No such file"):
        load_config(None, {"RECBATCH_DATABASE__URL_FILE": "/nowhere"})
    secret.write_text("https://hooks/canary\n")
    variables = {
        "RECBATCH_NOTIFY__WEBHOOK_URL_FILE": str(secret),
        "RECBATCH_METRICS__PUSH_URL_FILE": str(secret),
    }
    config = load_config(None, variables)
    assert config.notify.webhook_url == config.metrics.push_url == "https://hooks/canary"


BAD_ADDRESSES = [
    "ftp://h/canary",
    "https:/canary",
    "canary",
    "https://h/canary canary",
    "[canary",
    "https://h:99999/canary",
    "https://h:0/canary",
    "https://h:canary/",
    "https://[::canary/",
    "https://:80/canary",
    "https://h/canary\x01",
    "https://h/canary½",
    "https://" + "canary" * 11 + "/",
]
"""Schemes, ports and hosts that cannot be, and paths that must be escaped first."""


@pytest.mark.promise("E3")
@pytest.mark.parametrize("name", ["RECBATCH_NOTIFY__WEBHOOK_URL", "RECBATCH_METRICS__PUSH_URL"])
@pytest.mark.parametrize("url", BAD_ADDRESSES)
def test_a_wrong_address_is_not_repeated(name: str, url: str) -> None:
    """An address that cannot be used is refused by its name alone: it may hold a secret."""
    with pytest.raises(ConfigError) as error:
        load_config(None, {name: url})
    assert name in str(error.value)
    assert "canary" not in str(error.value)


@pytest.mark.promise("E3")
@pytest.mark.parametrize("path", ["DATABASE", "NOTIFY", "DATABASE__SCHEMA", "DASK__SCHEDULER"])
def test_a_secret_in_the_wrong_place_is_not_repeated(path: str) -> None:
    """Where a URL is put into another setting by mistake, the message does not show it."""
    with pytest.raises(ConfigError) as error:
        load_config(None, {f"RECBATCH_{path}": "postgresql://me:canary@db/films"})
    assert "canary" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    ["http://h", "https://h:65535/a?b=c", "http://[::1]:9091/metrics", "https://me:pw@höst/x"],
)
def test_usual_addresses_are_accepted(url: str) -> None:
    """Ports, IPv6, names in other scripts, queries and passwords may be in an address."""
    assert load_config(None, {"RECBATCH_METRICS__PUSH_URL": url}).metrics.push_url == url


@pytest.mark.promise("E5")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("publish:\n  top: 3\n", "publish.top: unknown setting; did you mean top_n?"),
        ("publish:\n  top-n: 3\n", "publish.top-n: unknown setting; did you mean top_n?"),
        ("publihs:\n  top_n: 3\n", "publihs: unknown setting; did you mean publish?"),
        (
            "models:\n  user_user:\n    neighbors: 3\n",
            "models.user_user.neighbors: unknown setting; did you mean neig",
        ),
        (
            "publish:\n  top_n: 0\n",
            "publish.top_n: must be 1 or more; it is 0",
        ),
        ("publish:\n  top_n: 3\n  top_n: 4\n", "config.yaml:3: top_n is given twice"),
        ("a: &x 1\nb: *x\n", "config.yaml:2: an alias"),
        ("schedule:\n  cron: * * * * *\n", "config.yaml:2: "),
        ("- a\n", "expected sections such as 'database:', found list"),
        ("models: {preset: best}\n", "models.preset: 'best' is not one of plain, tuned"),
        (
            "models: {user_user: {neighbours: 0}}\n",
            "models.user_user.neighbours: must be 'all', or must be 1 or more; it is 0",
        ),
        ("ingest: {scale: [5, 1]}\n", "ingest.scale: the lowest rating must be below the highest"),
        ("ingest: {scale: [-5, 0]}\n", "ingest.scale: the highest rating must be above 0"),
        ("schedule: {timezone: Mars}\n", "schedule.timezone: 'Mars' is not a time zone"),
        ("database: {job_url: 'postgresql://h/canary'}\n", "database: url and job_url must be two"),
        (
            "database: {schema: 'x; drop'}\n",
            "database.schema: must be a name of at most 63 letters",
        ),
        ("database: {schema: pg_films}\n", "database.schema: schemas that begin with pg_"),
        (
            "check: {warn_after_hours: 60}\n",
            "check: warn_after_hours must not be more than error_after_hours",
        ),
        ("notify: {when: [always]}\n", "notify.when.0: must be 'failure' or 'success'"),
        (
            "notify: {webhook_url: 'file:///etc/passwd'}\n",
            "notify.webhook_url: must be an address such as https:",
        ),
        ("engine: spark\n", "engine: must be 'local' or 'dask'; it is 'spark'"),
        ("engine:\n", "engine: must be 'local' or 'dask'"),
        (
            "dask: {scheduler: 'host:8786'}\n",
            "dask.scheduler: must be an address such as tcp://HOST:PORT",
        ),
        ("dask: {scheduler: 'tcp://h:65536'}\n", "dask.scheduler: is not an address such as tcp:"),
        ("dask: {workers: 0}\n", "dask.workers: must be 1 or more"),
        ("models:\n  neural:\n    learning_rate: .nan\n", "models.neural.learning_rate: "),
        ('artifacts: {dir: "a\\0b"}\n', "artifacts.dir: contains a NUL character; remove it"),
        ('filters: {films: ["\\uDCFF"]}\n', "filters.films: is not UTF-8 text"),
        (
            f"artifacts: {{dir: {'½' * 128}}}\n",
            "artifacts.dir: contains a name of more than 255 bytes",
        ),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    write: Callable[..., Path], text: str, message: str
) -> None:
    """A setting that cannot be used is refused with its place and what would do."""
    with pytest.raises(ConfigError) as error:
        load_config(write("config.yaml", text), {})
    assert message in str(error.value)
    assert str(error.value).count("\n") == 0


LIMITS = [
    # setting, the last value that is accepted, and one that is refused
    ("INGEST__SCALE", "[-100000, 100000]", "[-100001, 100000]"),
    ("INGEST__SCALE", "[-100000, 100000]", "[-100000, 100001]"),
    ("INGEST__SCALE", "[0, 5]", "[0, .inf]"),
    ("INGEST__SCALE", "[0, 5]", "[-.inf, 5]"),
    ("INGEST__SCALE", "[-1, 0.1]", "[-5, -1]"),
    ("INGEST__MAX_REJECTS", "0", "-1"),
    ("INGEST__MAX_REJECT_SHARE", "1", "1.1"),
    ("PUBLISH__TOP_N", "1000", "1001"),
    ("PUBLISH__KEEP_RUNS", "1000000000", "9223372036854775808"),
    ("PUBLISH__KEEP_RUNS", "2", "1"),
    ("PUBLISH__LEAST_RATINGS", "1000000000", "1000000001"),
    ("PUBLISH__DIVERSITY", "1", "1.1"),
    ("SCHEDULE__CATCHUP_HOURS", "8784", "8785"),
    ("SCHEDULE__MAX_HOURS", "8784", "8785"),
    ("EVALUATION__SEED", "4294967295", "4294967296"),
    ("EVALUATION__SEED", "0", "-1"),
    ("EVALUATION__USERS", "1000000000", "1000000001"),
    ("EVALUATION__RELEVANT_FROM", "-100000", "nan"),
    ("EVALUATION__RELEVANT_FROM", "100000", "inf"),
    ("EVALUATION__RELEVANT_FROM", "-100000", "-100001"),
    ("CHECK__ERROR_AFTER_HOURS", "1000000", "24000000000"),
    ("CHECK__ERROR_AFTER_HOURS", "1000000", "inf"),
    ("RESOURCES__MEMORY_MB", "100000000", "1" + "0" * 320),
    ("RESOURCES__MEMORY_MB", "100", "99"),
    ("DASK__WORKERS", "1024", "1025"),
    ("DASK__SCHEDULER", "tcp://h:65535", "tcp://h:65536"),
    ("GATE__MIN_USERS_JUDGED", "1000000000", "1000000001"),
    ("GATE__MAX_RMSE_OF_BIAS", "1000000", "inf"),
    ("GATE__MAX_CHURN", "1", "1.1"),
    ("MODELS__USER_USER__NEIGHBOURS", "1000000000", "9223372036854775808"),
    ("MODELS__ITEM_ITEM__NEIGHBOURS", "1000000000", "9223372036854775808"),
    ("MODELS__USER_USER__OVERLAP_SHRINKAGE", "1000000", "inf"),
    ("MODELS__USER_USER__SUPPORT_SHRINKAGE", "1000000", "inf"),
    ("MODELS__USER_USER__SUPPORT_WEIGHT", "10000", "1000000"),
    ("MODELS__ITEM_ITEM__SUPPORT_WEIGHT", "10000", "1000000"),
    ("MODELS__ITEM_ITEM__LEARNT_RIDGE", "0.001", "1e-12"),
    ("MODELS__ITEM_ITEM__LEARNT_RIDGE", "0", "0.0009"),
    ("MODELS__NEURAL__HIDDEN", "1024", "100000000000"),
    ("MODELS__NEURAL__LEARNING_RATE", "1000", "10000"),
    ("MODELS__NEURAL__WEIGHT_DECAY", "1000000", "inf"),
    ("MODELS__NEURAL__EPOCHS", "1000000", "1000000000000"),
    ("MODELS__NEURAL__PATIENCE", "1000000000", "1000000001"),
    ("MODELS__NEURAL__BATCH_SIZE", "1000000000", "9223372036854775808"),
    ("MODELS__NEURAL__MAX_WEIGHTS_MB", "1000000", "inf"),
]


@pytest.mark.promise("E5")
@pytest.mark.parametrize(("name", "accepted", "refused"), LIMITS)
def test_a_value_that_no_step_can_use_is_refused(name: str, accepted: str, refused: str) -> None:
    """A value beyond a setting's limit is refused when settings are read; the limit is accepted."""
    variable = f"RECBATCH_{name}"
    load_config(None, {variable: accepted}).sha256()
    with pytest.raises(ConfigError, match=f"^{variable}: [^\n]+$"):
        load_config(None, {variable: refused})


@pytest.mark.promise("E5")
@pytest.mark.parametrize("liked", [0.4, 5.5])
def test_liked_ratings_are_on_the_scale(liked: float) -> None:
    """A rating from which films are liked must be on the scale, if that is set too."""
    scale = {"RECBATCH_INGEST__SCALE": "[0.5, 5]"}
    for accepted in ("0.5", "5"):
        load_config(None, scale | {"RECBATCH_EVALUATION__RELEVANT_FROM": accepted})
    message = rf"evaluation.relevant_from: {liked} is outside ingest.scale, 0.5..5"
    with pytest.raises(ConfigError, match=message):
        load_config(None, scale | {"RECBATCH_EVALUATION__RELEVANT_FROM": f"{liked}"})


@pytest.mark.promise("E5")
@pytest.mark.parametrize("words", [["run"], ["check"], ["top", "1"]])
def test_a_wrong_setting_ends_a_command_at_once(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A command with a setting beyond its limit exits 2 with one line, before it does anything."""
    database = tmp_path / "recbatch.db"
    monkeypatch.setenv("RECBATCH_DATABASE__URL", f"sqlite:///{database}")
    file = tmp_path / "config.yaml"
    file.write_text("evaluation: {seed: 4294967296}\n")
    assert command("--config", str(file), *words) == 2
    line = "evaluation.seed: must be 4294967295 or less; it is 4294967296"
    assert capsys.readouterr().err == f"recbatch: {file}: {line}\n"
    assert not database.exists()


def test_a_night_takes_the_limits(tmp_path: Path, sqlite_url: str) -> None:
    """With settings at their limits a night learns its blend, and its rows pass the audit."""
    database = open_database(sqlite_url)
    upgrade(database)
    fill(database, tmp_path, random_rows(0, 100, 40, 0.4))
    limits = {
        "EVALUATION__SEED": "4294967295",
        "EVALUATION__USERS": "1000000000",
        "PUBLISH__TOP_N": "1000",
        "PUBLISH__KEEP_RUNS": "1000000000",
        "RESOURCES__MEMORY_MB": "100000000",
        "MODELS__USER_USER__NEIGHBOURS": "1000000000",
        "MODELS__USER_USER__SUPPORT_WEIGHT": "10000",
        "MODELS__ITEM_ITEM__NEIGHBOURS": "1000000000",
        "MODELS__ITEM_ITEM__LEARNT_RIDGE": "0.001",
        "MODELS__NEURAL__HIDDEN": "1024",
        "MODELS__NEURAL__LEARNING_RATE": "10",
        "MODELS__NEURAL__PATIENCE": "1000000000",
        "MODELS__NEURAL__BATCH_SIZE": "1000000000",
        "MODELS__NEURAL__EPOCHS": "5",
    }
    variables = {f"RECBATCH_{name}": value for name, value in limits.items()}
    nightly.run(database, settings(tmp_path, **variables), Order(date(2026, 11, 23), force=True))
    assert rows(database, "SELECT status FROM runs") == [("published",)]
    learnt = "SELECT count(*) FROM run_metrics WHERE model = 'blend' AND metric = 'list_odds'"
    assert rows(database, learnt) == [(1,)]


def test_queries_may_have_a_database_of_their_own(write: Callable[..., Path]) -> None:
    """RECBATCH_INGEST__QUERY_URL_FILE is read, and that database is not in the fingerprint."""
    secret = write("secret", "postgresql://me:canary@db/shop\n")
    config = load_config(None, {"RECBATCH_INGEST__QUERY_URL_FILE": str(secret)})
    assert config.ingest.query_url == "postgresql://me:canary@db/shop"
    assert config.sha256() == Config().sha256()


def test_a_named_file_must_exist() -> None:
    """A settings file that is named must exist; the default one may be missing."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        load_config(Path("nowhere.yaml"), {})


def test_the_fingerprint_ignores_where_things_are() -> None:
    """Database, engine and monitors do not change the fingerprint of settings; others do."""
    elsewhere = {
        "DATABASE__URL": "sqlite:///other.db",
        "ENGINE": "dask",
        "DASK__SCHEDULER": "tcp://host:8786",
        "CHECK__WARN_AFTER_HOURS": "3",
        "METRICS__TEXTFILE": "x.prom",
        "NOTIFY__WHEN": "failure",
    }
    variables = {f"RECBATCH_{name}": value for name, value in elsewhere.items()}
    same = load_config(None, variables)
    assert same.engine == "dask"
    other = load_config(None, {"RECBATCH_PUBLISH__TOP_N": "6"})
    assert Config().sha256() == same.sha256() != other.sha256()
