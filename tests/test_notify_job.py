"""What is told of a run that has ended: to a real server, in a real file, read by Prometheus' own parser."""

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

from batch.job import nightly, notify
from batch.job.prometheus import HELP
from batch.store.database import Database, run_lock
from faults import Faults
from fixed import command
from processes import end_at, ended, in_child

DONE, FAILED, REFUSED, LOCKED, TERMINATED = 0, 1, 3, 75, 143
SECRET = "s3cret-t0ken"  # noqa: S105  what is looked for


class Listener:
    """A server that keeps what it is sent, answers with a code, or not at all."""

    def __init__(self) -> None:
        self.user_weighted_sums: list[tuple[str, dict[str, str], bytes]] = []
        self.answer = 200
        self.hangs = False
        self.freed = Event()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.user_weighted_sums.append((self.path, dict(self.headers), body))
                if listener.hangs:
                    listener.freed.wait(20)
                    return
                self.send_response(listener.answer)
                if listener.answer == 302:
                    self.send_header("Location", f"{listener.url}/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def told(self) -> list[dict[str, Any]]:
        """The JSON it was sent since the last call."""
        found = [json.loads(body) for _, _, body in self.user_weighted_sums]
        self.user_weighted_sums.clear()
        return found

    def close(self) -> None:
        """Free the port."""
        self.freed.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A server of the test's own."""
    made = Listener()
    yield made
    made.close()


@pytest.fixture
def webhook(nights: Faults, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Listener:
    """One that the settings name, by a URL with a secret; run 1 was published before."""
    monkeypatch.setenv("RECBATCH_NOTIFY__WEBHOOK_URL", f"{listener.url}/{SECRET}")
    return listener


def in_a_child(work: Callable[[], None], folder: Path) -> tuple[int, str]:
    """Do it in a process of its own, then run a night; its exit code and what it printed."""
    log = folder / "log"
    log.unlink(missing_ok=True)

    def night() -> int:
        work()
        return command("-q", "run")

    return ended(in_child(night, log)), log.read_text()


def test_every_end_is_told(
    webhook: Listener, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A published, ready, refused, failed and terminated run is told with its number, reason, checks and counts."""
    assert command("-q", "run") == DONE
    [told] = webhook.told()
    assert (told["event"], told["run_id"], told["status"], told["error"]) == (
        "success",
        2,
        "published",
        None,
    )
    assert (told["users"], told["films"], told["triggered_by"]) == (25, 40, "manual")
    assert told["rows"] == dict.fromkeys(("user_user", "item_item", "neural", "blend"), 125)
    assert told["started_at"] < told["finished_at"]
    assert command("-q", "run", "--no-publish") == DONE
    assert [(told["event"], told["status"]) for told in webhook.told()] == [("success", "ready")]
    with monkeypatch.context() as patch:
        patch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
        assert command("-q", "run") == REFUSED
    [told] = webhook.told()
    assert (told["event"], told["run_id"], told["status"]) == ("failure", 4, "rejected")
    assert told["text"].startswith("recbatch: run 4 for 20")
    assert told["text"].endswith(
        " is rejected: rmse_of_bias_blend, rmse_of_bias_item_item, rmse_of_bias_neural, rmse_of_bias_user_user"
    )
    assert told["failed_checks"][0] == {
        "name": "rmse_of_bias_blend",
        "value": 0.85 / 0.9,
        "wanted": "at most 0.1",
    }

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(nightly, "audit_gates", fail)
        assert command("-q", "run") == FAILED
    [told] = webhook.told()
    assert (told["event"], told["run_id"], told["status"]) == ("failure", 5, "failed")
    assert told["error"] == "[Errno 28] No space left on device"
    assert told["ratings"] is not None
    code, _ = in_a_child(lambda: end_at("after load", signal.SIGTERM), tmp_path)
    assert code == TERMINATED
    [told] = webhook.told()
    assert (told["run_id"], told["status"], told["error"]) == (6, "abandoned", "ended by a signal")


def test_what_is_nobodys_business_is_not_told(webhook: Listener, database: Database) -> None:
    """A night that is published already, and a job that another keeps from working, are not told: nothing ran."""
    assert command("-q", "run", "--scheduled-for", "latest") == DONE
    assert [told["status"] for told in webhook.told()] == []
    with run_lock(database):
        assert command("-q", "run") == LOCKED
    assert webhook.told() == []


def test_a_night_without_a_database_is_told(
    webhook: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that cannot even open its database tells so, without a run's number."""
    monkeypatch.setenv(
        "RECBATCH_DATABASE__URL", "postgresql://me:canary@127.0.0.1:1/films?connect_timeout=1"
    )
    assert command("-q", "run") == FAILED
    [told] = webhook.told()
    assert (told["run_id"], told["status"]) == (None, "failed")
    assert "127.0.0.1" in told["error"]
    assert "canary" not in json.dumps(told)


def test_only_what_was_asked_for(webhook: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """`notify.when: failure` tells of failures only, and a file may hold the URL."""
    monkeypatch.setenv("RECBATCH_NOTIFY__WHEN", "failure")
    assert command("-q", "run") == DONE
    assert webhook.told() == []
    monkeypatch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
    assert command("-q", "run") == REFUSED
    assert len(webhook.told()) == 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_delivery_that_fails_fails_no_job(
    webhook: Listener,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A server that answers 500, hangs or is not there, and a file that cannot be written, cost a warning each."""
    warned = []

    def night() -> None:
        capsys.readouterr()
        assert command("-q", "run") == DONE
        warned.append(capsys.readouterr().err)

    webhook.answer = 500
    night()
    webhook.answer = (
        302  # whoever followed it would send the password elsewhere, and the news nowhere
    )
    night()
    monkeypatch.setattr(notify, "TIMEOUT", 0.2)
    webhook.hangs = True
    night()
    webhook.freed.set()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://me:{SECRET}@127.0.0.1:{free.getsockname()[1]}/x"
    for url in (nowhere, f"http://127.0.0.1:{SECRET}/x", f"http://127.0.0.1:1/{SECRET}\x7f"):
        monkeypatch.setenv("RECBATCH_NOTIFY__WEBHOOK_URL", url)
        night()
    monkeypatch.delenv("RECBATCH_NOTIFY__WEBHOOK_URL")
    monkeypatch.setenv("RECBATCH_METRICS__TEXTFILE", str(tmp_path / "missing" / "recbatch.prom"))
    night()
    found = [
        "it answered 500",
        "it answered 302",
        "no answer within 0.2 s",
        "Connection refused",
        "InvalidURL",
        "InvalidURL",
        "No such file",
    ]
    for told, why in zip(warned, found, strict=True):
        assert why in told
        assert told.count("\n") == 1
    told = json.loads(warned[0])
    assert (told["event"], told["to"], told["error"]) == (
        "webhook not told",
        webhook.url,
        "it answered 500",
    )
    assert not any(SECRET in told for told in (*warned[:4], warned[5]))


def test_a_password_becomes_a_header(webhook: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name and password in the URL are sent as basic authentication, and not as a part of the address."""
    monkeypatch.setenv(
        "RECBATCH_NOTIFY__WEBHOOK_URL", webhook.url.replace("//", "//me:p%40ss@") + "/x"
    )
    assert command("-q", "run") == DONE
    [(path, headers, _)] = webhook.user_weighted_sums
    assert (path, headers["Authorization"]) == ("/x", "Basic bWU6cEBzcw==")
    assert headers["Host"] == webhook.url.removeprefix("http://")


def read(text: str) -> dict[str, dict[str, float]]:
    """What Prometheus makes of it: metric -> label -> value; everything must be a known gauge with a help text."""
    found: dict[str, dict[str, float]] = {}
    assert text.endswith("\n")
    for family in text_string_to_metric_families(text):
        assert (family.type, family.documentation) == ("gauge", HELP[family.name])
        assert family.name not in found
        found[family.name] = {
            " ".join(sample.labels.values()): sample.value for sample in family.samples
        }
    return found


def test_the_textfile(
    nights: Faults, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a night every metric is right; one that is refused or fails changes those of the last run only."""
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
    assert set(good) | {"recbatch_coverage_ratio"} == set(
        HELP
    )  # which fixed arithmetic has no figure of
    models = ("user_user", "item_item", "neural", "blend")
    assert good["recbatch_rows"] == dict.fromkeys(models, 125)
    assert set(good["recbatch_churn_ratio"]) == set(models)
    assert good["recbatch_input_max_timestamp_seconds"] == {"": 1_700_000_000}
    assert good["recbatch_last_run_status"] == {
        "published": 1, "ready": 0, "rejected": 0, "failed": 0, "abandoned": 0,
    }  # fmt: skip
    assert good["recbatch_last_run_ingested_rows"] == {"accepted": 1, "rejected": 1, "duplicate": 0}
    assert (
        good["recbatch_last_success_timestamp_seconds"]
        == good["recbatch_last_run_timestamp_seconds"]
    )
    assert set(good["recbatch_last_run_step_seconds"]) == {
        "load",
        "evaluate",
        "fit",
        "score",
        "audit",
    }
    assert 5e7 < good["recbatch_last_run_peak_memory_bytes"][""] < 1e10
    success = {name: values for name, values in good.items() if "last_run" not in name}
    for environ, codes, status in (
        ({"RECBATCH_GATE__MAX_RMSE_OF_BIAS": "0.1"}, REFUSED, "rejected"),
        (
            {"RECBATCH_DATABASE__URL": "postgresql://127.0.0.1:1/films?connect_timeout=1"},
            FAILED,
            "failed",
        ),
    ):
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            assert command("-q", "run") == codes
        found = read(file.read_text())
        assert {name: values for name, values in found.items() if "last_run" not in name} == success
        assert found["recbatch_last_run_status"][status] == 1
        assert sum(found["recbatch_last_run_status"].values()) == 1
        assert (
            found["recbatch_last_run_timestamp_seconds"][""]
            > good["recbatch_last_run_timestamp_seconds"][""]
        )
    assert found["recbatch_last_run_id"] == {"": 0}
    assert {name for name in found if "last_run" in name} == {
        name for name in HELP if "last_run" in name
    }
    assert set(found["recbatch_last_run_step_seconds"].values()) == {0}
    assert command("-q", "run") == DONE
    assert read(file.read_text())["recbatch_last_success_run_id"] == {"": 4}
    assert [each.name for each in file.parent.iterdir()] == ["recbatch.prom"]
    assert file.stat().st_mode & 0o044 == 0o044 & ~os.umask(os.umask(0o022))


def test_a_textfile_that_was_broken_mends(
    nights: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in the file, what a refused run leaves in it can be read."""
    file = tmp_path / "recbatch.prom"
    monkeypatch.setenv("RECBATCH_METRICS__TEXTFILE", str(file))
    monkeypatch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
    file.write_bytes(
        b'\xff\xfe\nrecbatch_rows{model="a\nrecbatch_rows half\nother_metric 3\nrecbatch_users\n'
    )
    assert command("-q", "run") == REFUSED
    assert read(file.read_text())["recbatch_last_run_status"]["rejected"] == 1


def test_a_pushgateway_is_told_the_same(
    nights: Faults, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics are posted, so that a gateway keeps those of the last success; a refused run posts none of those."""
    monkeypatch.setenv("RECBATCH_METRICS__PUSH_URL", f"{listener.url}/metrics/job/recbatch")
    assert command("-q", "run") == DONE
    monkeypatch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
    assert command("-q", "run") == REFUSED
    (path, headers, good), (_, _, refused) = listener.user_weighted_sums
    assert (path, headers["Content-Type"]) == (
        "/metrics/job/recbatch",
        "text/plain; version=0.0.4; charset=utf-8",
    )
    assert "recbatch_last_success_timestamp_seconds" in read(good.decode())
    assert all("last_run" in name for name in read(refused.decode()))


def test_every_metric_is_written_down() -> None:
    """docs/running.md names every metric, and none that there is not."""
    page = (Path(__file__).parents[1] / "docs" / "running.md").read_text(encoding="utf-8")
    table = page.split("| metric, `recbatch_` and | of | label |")[1].split("\n\n")[0]
    named = [
        f"recbatch_{name}"
        for row in table.splitlines()[2:]
        for name in re.findall("`(.*?)`", row.split(" | ")[0])
    ]
    assert sorted(named) == sorted(HELP)
