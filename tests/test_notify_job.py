"""Notifications of runs: to a real server, in a real file, read by Prometheus' own parser."""

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batch.job import notify, steps
from batch.job.prometheus import HELP
from batch.store.database import Database
from batch.store.run_lock import run_lock
from faults import Faults
from fixed import command
from processes import end_at, ended, in_child

DONE, FAILED, REFUSED, LOCKED, TERMINATED = 0, 1, 3, 75, 143
SECRET = "s3cret-t0ken"  # noqa: S105  no log line may contain it


class Listener:
    """A server that keeps what it is sent, and answers with a code or not at all."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []  # path, headers, body
        self.answer = 200
        self.hangs = False
        self.released = Event()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.requests.append((self.path, dict(self.headers), body))
                if listener.hangs:
                    listener.released.wait(20)
                    return
                self.send_response(listener.answer)
                if listener.answer == 302:
                    self.send_header("Location", f"{listener.url}/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def messages(self) -> list[dict[str, Any]]:
        """The JSON it was sent since the last call."""
        messages = [json.loads(body) for _, _, body in self.requests]
        self.requests.clear()
        return messages

    def close(self) -> None:
        """Free the port."""
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A server of the test's own."""
    server = Listener()
    yield server
    server.close()


@pytest.fixture
def webhook(nights: Faults, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Listener:
    """A server that the settings name, by a URL with a secret; run 1 was published before."""
    monkeypatch.setenv("RECBATCH_NOTIFY__WEBHOOK_URL", f"{listener.url}/{SECRET}")
    return listener


def in_a_child(work: Callable[[], None], folder: Path) -> tuple[int, str]:
    """Call a function and run a night in a child process; its exit code and output."""
    log = folder / "log"
    log.unlink(missing_ok=True)

    def night() -> int:
        work()
        return command("-q", "run")

    return ended(in_child(night, log)), log.read_text()


def test_every_end_is_notified(
    webhook: Listener, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs with every status are sent with their number, reason, checks and counts."""
    assert command("-q", "run") == DONE
    [message] = webhook.messages()
    assert (message["event"], message["run_id"]) == ("success", 2)
    assert (message["status"], message["error"]) == ("published", None)
    assert (message["users"], message["films"]) == (25, 40)
    assert message["triggered_by"] == "manual"
    assert message["rows"] == dict.fromkeys(("user_user", "item_item", "neural", "blend"), 125)
    assert message["started_at"] < message["finished_at"]
    assert command("-q", "run", "--no-publish") == DONE
    [message] = webhook.messages()
    assert (message["event"], message["status"]) == ("success", "ready")
    with monkeypatch.context() as patch:
        patch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
        assert command("-q", "run") == REFUSED
    [message] = webhook.messages()
    assert (message["event"], message["run_id"], message["status"]) == ("failure", 4, "rejected")
    assert message["text"].startswith("recbatch: run 4 for 20")
    models = ("blend", "item_item", "neural", "user_user")
    names = ", ".join(f"rmse_of_bias_{model}" for model in models)
    assert message["text"].endswith(f" is rejected: {names}")
    check = {"name": "rmse_of_bias_blend", "value": 1.0, "wanted": "at most 0.1"}
    assert message["failed_checks"][0] == check

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(steps, "audit_gates", fail)
        assert command("-q", "run") == FAILED
    [message] = webhook.messages()
    assert (message["event"], message["run_id"], message["status"]) == ("failure", 5, "failed")
    assert message["error"] == "[Errno 28] No space left on device"
    assert message["ratings"] is not None
    code, _ = in_a_child(lambda: end_at("after load", signal.SIGTERM), tmp_path)
    assert code == TERMINATED
    [message] = webhook.messages()
    assert (message["run_id"], message["status"]) == (6, "abandoned")
    assert message["error"] == "ended by a signal"


def test_nothing_is_sent_where_nothing_ran(webhook: Listener, database: Database) -> None:
    """A night that is published already and a job that finds another working send nothing."""
    assert command("-q", "run", "--scheduled-for", "latest") == DONE
    assert webhook.messages() == []
    with run_lock(database):
        assert command("-q", "run") == LOCKED
    assert webhook.messages() == []


def test_a_run_without_a_database_is_notified(
    webhook: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that cannot reach its database sends a failure without a run's number."""
    url = "postgresql://me:canary@127.0.0.1:1/films?connect_timeout=1"
    monkeypatch.setenv("RECBATCH_DATABASE__URL", url)
    assert command("-q", "run") == FAILED
    [message] = webhook.messages()
    assert (message["run_id"], message["status"]) == (None, "failed")
    assert "127.0.0.1" in message["error"]
    assert "canary" not in json.dumps(message)


def test_failures_only(webhook: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """`notify.when: failure` sends failures only."""
    monkeypatch.setenv("RECBATCH_NOTIFY__WHEN", "failure")
    assert command("-q", "run") == DONE
    assert webhook.messages() == []
    monkeypatch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
    assert command("-q", "run") == REFUSED
    assert len(webhook.messages()) == 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_failed_delivery_fails_no_run(
    webhook: Listener,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A server that fails, hangs or is down, and an unwritable file, are a warning each."""
    warnings = []

    def night() -> None:
        capsys.readouterr()
        assert command("-q", "run") == DONE
        warnings.append(capsys.readouterr().err)

    webhook.answer = 500
    night()
    webhook.answer = 302  # following it would send the password elsewhere, without the body
    night()
    monkeypatch.setattr(notify, "TIMEOUT", 0.2)
    webhook.hangs = True
    night()
    webhook.released.set()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://me:{SECRET}@127.0.0.1:{free.getsockname()[1]}/x"
    monkeypatch.setenv("RECBATCH_NOTIFY__WEBHOOK_URL", nowhere)
    night()
    monkeypatch.delenv("RECBATCH_NOTIFY__WEBHOOK_URL")
    monkeypatch.setenv("RECBATCH_METRICS__TEXTFILE", str(tmp_path / "missing" / "recbatch.prom"))
    night()
    reasons = [
        "it answered 500",
        "it answered 302",
        "no answer within 0.2 s",
        "Connection refused",
        "No such file",
    ]
    for warning, reason in zip(warnings, reasons, strict=True):
        assert reason in warning
        assert warning.count("\n") == 1
    first = json.loads(warnings[0])
    assert first["event"] == "webhook not delivered"
    assert (first["to"], first["error"]) == (webhook.url, "it answered 500")
    assert not any(SECRET in warning for warning in warnings)


@pytest.mark.parametrize("address", ["http://127.0.0.1:{}/x", "http://127.0.0.1:1/{}\x7f"])
def test_an_impossible_address_is_refused_at_the_start(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address that nothing can be sent to is exit 2 before the run, and is not printed."""
    monkeypatch.setenv("RECBATCH_NOTIFY__WEBHOOK_URL", address.format(SECRET))
    assert command("-q", "run") == 2
    message = capsys.readouterr().err
    assert "RECBATCH_NOTIFY__WEBHOOK_URL: is not an address such as" in message
    assert SECRET not in message


def test_a_password_becomes_a_header(webhook: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name and password in the URL are sent as basic authentication, not in the address."""
    url = webhook.url.replace("//", "//me:p%40ss@") + "/x"
    monkeypatch.setenv("RECBATCH_NOTIFY__WEBHOOK_URL", url)
    assert command("-q", "run") == DONE
    [(path, headers, _)] = webhook.requests
    assert (path, headers["Authorization"]) == ("/x", "Basic bWU6cEBzcw==")
    assert headers["Host"] == webhook.url.removeprefix("http://")


def read(text: str) -> dict[str, dict[str, float]]:
    """Metrics as Prometheus reads them: metric -> label -> value. All must be gauges with help."""
    metrics: dict[str, dict[str, float]] = {}
    assert text.endswith("\n")
    for family in text_string_to_metric_families(text):
        assert (family.type, family.documentation) == ("gauge", HELP[family.name])
        assert family.name not in metrics
        metrics[family.name] = {
            " ".join(sample.labels.values()): sample.value for sample in family.samples
        }
    return metrics


def test_the_textfile(
    nights: Faults, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run sets every metric; one that is refused or fails changes those of the last run only."""
    file = tmp_path / "node" / "recbatch.prom"
    file.parent.mkdir()
    monkeypatch.setenv("RECBATCH_METRICS__TEXTFILE", str(file))
    monkeypatch.setenv("RECBATCH_INGEST__PATHS", str(tmp_path / "more.csv"))
    (tmp_path / "more.csv").write_text(
        "user,movie,rating,timestamp\nu1,m1,4,1700000000\nu1,m2,5,x\n"
    )
    assert command("-q", "run", "--force") == DONE
    good = read(file.read_text())
    monkeypatch.delenv("RECBATCH_INGEST__PATHS")
    # Fixed arithmetic has no coverage, and nobody rated what the run before listed.
    missing = {"recbatch_coverage_ratio"} | {name for name in HELP if "_outcome_" in name}
    assert set(good) - missing == set(HELP) - missing
    models = ("user_user", "item_item", "neural", "blend")
    assert good["recbatch_rows"] == dict.fromkeys(models, 125)
    assert set(good["recbatch_churn_ratio"]) == set(models)
    assert good["recbatch_input_max_timestamp_seconds"] == {"": 1_700_000_000}
    other_statuses = dict.fromkeys(("ready", "rejected", "failed", "abandoned"), 0)
    assert good["recbatch_last_run_status"] == {"published": 1} | other_statuses
    assert good["recbatch_last_run_ingested_rows"] == {"accepted": 1, "rejected": 1, "duplicate": 0}
    run_ended = good["recbatch_last_run_timestamp_seconds"]
    assert good["recbatch_last_success_timestamp_seconds"] == run_ended
    step_names = {"load", "evaluate", "fit", "score", "similar", "outcome", "audit"}
    assert set(good["recbatch_last_run_step_seconds"]) == step_names
    assert 5e7 < good["recbatch_last_run_peak_memory_bytes"][""] < 1e10
    success = {name: values for name, values in good.items() if "last_run" not in name}
    unreachable = "postgresql://127.0.0.1:1/films?connect_timeout=1"
    for name, value, code, status in (
        ("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1", REFUSED, "rejected"),
        ("RECBATCH_DATABASE__URL", unreachable, FAILED, "failed"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert command("-q", "run") == code
        metrics = read(file.read_text())
        kept = {name: values for name, values in metrics.items() if "last_run" not in name}
        assert kept == success
        assert metrics["recbatch_last_run_status"][status] == 1
        assert sum(metrics["recbatch_last_run_status"].values()) == 1
        assert metrics["recbatch_last_run_timestamp_seconds"][""] > run_ended[""]
    assert metrics["recbatch_last_run_id"] == {"": 0}
    of_last_run = {name for name in metrics if "last_run" in name}
    assert of_last_run == {name for name in HELP if "last_run" in name}
    assert set(metrics["recbatch_last_run_step_seconds"].values()) == {0}
    assert command("-q", "run") == DONE
    assert read(file.read_text())["recbatch_last_success_run_id"] == {"": 4}
    assert [path.name for path in file.parent.iterdir()] == ["recbatch.prom"]
    assert file.stat().st_mode & 0o044 == 0o044 & ~os.umask(os.umask(0o022))


def test_a_damaged_textfile_is_repaired(
    nights: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the file holds, a refused run leaves one that can be read."""
    file = tmp_path / "recbatch.prom"
    monkeypatch.setenv("RECBATCH_METRICS__TEXTFILE", str(file))
    monkeypatch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
    file.write_bytes(
        b'\xff\xfe\nrecbatch_rows{model="a\nrecbatch_rows half\nother_metric 3\nrecbatch_users\n'
    )
    assert command("-q", "run") == REFUSED
    assert read(file.read_text())["recbatch_last_run_status"]["rejected"] == 1


def test_a_pushgateway_gets_the_same_metrics(
    nights: Faults, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A published run posts all metrics; a refused one none that are of the last success."""
    monkeypatch.setenv("RECBATCH_METRICS__PUSH_URL", f"{listener.url}/metrics/job/recbatch")
    assert command("-q", "run") == DONE
    monkeypatch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
    assert command("-q", "run") == REFUSED
    (path, headers, good), (_, _, refused) = listener.requests
    assert (path, headers["Content-Type"]) == (
        "/metrics/job/recbatch",
        "text/plain; version=0.0.4; charset=utf-8",
    )
    assert "recbatch_last_success_timestamp_seconds" in read(good.decode())
    assert all("last_run" in name for name in read(refused.decode()))


def test_every_metric_is_documented() -> None:
    """docs/running.md names every metric, and no other."""
    page = (Path(__file__).parents[1] / "docs" / "running.md").read_text(encoding="utf-8")
    table = page.split("| metric, `recbatch_` and | of | label |")[1].split("\n\n")[0]
    names = []
    for row in table.splitlines()[2:]:
        names += [f"recbatch_{name}" for name in re.findall("`(.*?)`", row.split(" | ")[0])]
    assert sorted(names) == sorted(HELP)
