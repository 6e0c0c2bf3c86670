"""The files in deploy/ and compose.yaml: their commands, settings and exit codes exist."""

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
from batch.job.nights import cron_trigger
from test_docs import ROOT, require_command

DEPLOY = ROOT / "deploy"
FILES = [*sorted(DEPLOY.iterdir()), ROOT / "compose.yaml", *sorted((ROOT / "docs").glob("*.md"))]


def crontab() -> list[str]:
    """The lines that are no comments."""
    lines = (DEPLOY / "recbatch.cron").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.match(r"[\d*]", line)]


def cronjob() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "cronjob.yaml").read_text(encoding="utf-8"))
    return loaded


def operators() -> list[dict[str, Any]]:
    """The named arguments of each BashOperator of the DAG."""
    tree = ast.parse((DEPLOY / "recbatch_dag.py").read_text(encoding="utf-8"))
    tasks = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "BashOperator":
            arguments = node.keywords
            tasks.append({str(item.arg): ast.literal_eval(item.value) for item in arguments})
    return tasks


def error_of(name: str, value: str) -> str:
    """The program's error for an environment variable; empty if there is none."""
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
    """Each RECBATCH_ variable in the file is a setting, or names a file that holds one."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    names = set(re.findall(r"RECBATCH_[A-Z_]*[A-Z]", file.read_text(encoding="utf-8")))
    for name in names:
        assert "unknown setting" not in error_of(name, str(secret)), name


def test_the_crontab() -> None:
    """Its lines have five fields and a shell command, without a % that cron makes a line break."""
    night, check = crontab()
    for line in (night, check):
        cron_trigger(" ".join(line.split()[:5]))
        assert "%" not in line.replace(r"\%", "")
        command = line.split(maxsplit=5)[5]
        subprocess.run(["sh", "-n", "-c", command], check=True)
        program = command.split(".venv/bin/")[1]
        require_command(shlex.split(re.split("[|>]", program)[0]))
    assert "run --scheduled-for latest" in night


def test_the_units() -> None:
    """The service runs one night, 75 is no failure, and missed nights are made up."""
    service = unit("recbatch.service")["Service"]
    timer = unit("recbatch.timer")["Timer"]
    command = shlex.split(service["ExecStart"])
    assert command[0].endswith("/.venv/bin/recbatch")
    require_command(command)
    assert int(service["SuccessExitStatus"]) == LOCKED
    assert timer["Persistent"] == "true"


def test_the_dag() -> None:
    """Its tasks replace their shell by the program, and skip where another job is at work."""
    night, check = operators()
    for task in (night, check):
        replaced, program, *rest = shlex.split(task["bash_command"])
        assert (replaced, program) == ("exec", ".venv/bin/recbatch")
        require_command([program, *rest])
        assert task["append_env"]
    assert night["skip_on_exit_code"] == LOCKED


def test_the_cronjob() -> None:
    """It runs one job at a time, without rights, and retries only what may succeed later."""
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
    context = pod["securityContext"]
    assert (context["runAsUser"], context["runAsNonRoot"]) == (10001, True)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_the_compose_file() -> None:
    """Its services are the database, the migration and the scheduler, by commands that exist."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(services) == {"postgres", "migrate", "scheduler"}
    for name in ("migrate", "scheduler"):
        require_command(["recbatch", *services[name]["command"]])
    assert services["scheduler"]["read_only"]
