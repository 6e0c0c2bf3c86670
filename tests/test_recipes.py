"""The files in deploy/ and compose.yaml: what they are, and that they name only what the program has."""

import ast
import configparser
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from batch.cli.arguments import LOCKED, REFUSED
from batch.cli.help import WRONG_USE
from batch.config import ConfigError, load_config
from batch.job.schedule import cron_trigger
from test_docs import ROOT, require_command

DEPLOY = ROOT / "deploy"
FILES = [*sorted(DEPLOY.iterdir()), ROOT / "compose.yaml", *sorted((ROOT / "docs").glob("*.md"))]


def crontab() -> list[str]:
    lines = (DEPLOY / "recbatch.cron").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.match(r"[\d*]", line)]


def cronjob() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "cronjob.yaml").read_text(encoding="utf-8"))
    return loaded


def operators() -> list[dict[str, Any]]:
    """The named arguments of each BashOperator of the DAG."""
    tree = ast.parse((DEPLOY / "recbatch_dag.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "BashOperator"
    ]


def complaint(name: str, value: str) -> str:
    """What the program says of a variable that holds this."""
    try:
        load_config(None, {name: value})
    except ConfigError as error:
        return str(error)
    return ""


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((DEPLOY / name).read_text(encoding="utf-8"))
    return parser


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_setting_exists(file: Path, tmp_path: Path) -> None:
    """Each RECBATCH_ variable that is written down is a setting, or the file that holds one."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    for name in set(re.findall(r"RECBATCH_[A-Z_]*[A-Z]", file.read_text(encoding="utf-8"))):
        assert "unknown setting" not in complaint(name, str(secret)), name


def test_the_crontab() -> None:
    """Its lines have five fields and a command of the shell, and no sign that cron would turn into a line break."""
    night, check = crontab()
    for line in (night, check):
        cron_trigger(" ".join(line.split()[:5]))
        assert "%" not in line.replace(r"\%", "")
        command = line.split(maxsplit=5)[5]
        subprocess.run(["sh", "-n", "-c", command], check=True)
        require_command(shlex.split(command.split(".venv/bin/")[1].split("|")[0].split(">")[0]))
    assert "run --scheduled-for latest" in night


def test_the_units() -> None:
    """The service runs one night by the program's own command, takes 75 for no failure, and nights are made up."""
    service, timer = unit("recbatch.service")["Service"], unit("recbatch.timer")["Timer"]
    command = shlex.split(service["ExecStart"])
    assert command[0].endswith("/.venv/bin/recbatch")
    require_command(command)
    assert int(service["SuccessExitStatus"]) == LOCKED
    assert timer["Persistent"] == "true"


def test_the_dag() -> None:
    """Its tasks run the program's own commands in place of their shell, and skip where another job is at work."""
    night, check = operators()
    for task in (night, check):
        replaced, program, *rest = shlex.split(task["bash_command"])
        assert (replaced, program) == ("exec", ".venv/bin/recbatch")
        require_command([program, *rest])
        assert task["append_env"]
    assert night["skip_on_exit_code"] == LOCKED


def test_the_cronjob() -> None:
    """It lets one job at a time run, without rights, and tries again only what may go better."""
    spec = cronjob()["spec"]
    assert (cronjob()["kind"], spec["concurrencyPolicy"]) == ("CronJob", "Forbid")
    cron_trigger(spec["schedule"])
    job = spec["jobTemplate"]["spec"]
    [rule] = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [WRONG_USE, REFUSED, LOCKED]
    pod = job["template"]["spec"]
    [container] = pod["containers"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    require_command(["recbatch", *container["args"]])
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsNonRoot"]) == (
        10001,
        True,
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }


def test_the_compose_file() -> None:
    """Its services are the database, the tables and the scheduler, and their commands are the program's own."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(services) == {"postgres", "migrate", "scheduler"}
    for name in ("migrate", "scheduler"):
        require_command(["recbatch", *services[name]["command"]])
    assert services["scheduler"]["read_only"]
