"""What `deploy/` holds for clusters: manifests by Kubernetes' own schemas, the Slurm script as Slurm would run it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import ROOT

MANIFESTS = sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))
VERSION = "1.34"  # of Kubernetes; `.venv-audit` has its schemas
SBATCH = ROOT / "deploy/slurm/train.sbatch"


def resources(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_manifests_are_what_kubernetes_accepts(tmp_path: Path) -> None:
    program = [ROOT / ".venv-audit/bin/kubernetes-validate", "--kubernetes-version", VERSION, "--strict"]
    assert len(MANIFESTS) == 3
    for path in MANIFESTS:
        done = subprocess.run([*program, path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        *_, resource = resources(path)
        resource["spec"]["no_such_field"] = 1
        (tmp_path / path.name).write_text(yaml.safe_dump(resource))
        refused = subprocess.run([*program, tmp_path / path.name], capture_output=True, text=True)
        assert refused.returncode and "no_such_field" in refused.stdout + refused.stderr


def test_pods_run_unprivileged_and_mount_what_the_claim_holds() -> None:
    every = [resource for path in MANIFESTS for resource in resources(path)]
    (claim,) = [resource["metadata"]["name"] for resource in every if resource["kind"] == "PersistentVolumeClaim"]
    pods = [resource["spec"]["template"]["spec"] for resource in every if "template" in resource["spec"]]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
        (container,) = pod["containers"]
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] and rights["capabilities"] == {"drop": ["ALL"]}
        assert not rights["allowPrivilegeEscalation"] and container["resources"]["limits"]["memory"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
        assert volumes["ner"]["persistentVolumeClaim"] == {"claimName": claim}


def test_the_service_reaches_the_server_which_is_probed_on_health() -> None:
    deployment, service = resources(ROOT / "deploy/kubernetes/serve.yaml")
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    (container,) = template["spec"]["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8000}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": "http"}


def test_the_pods_of_a_training_meet_at_the_first(tmp_path: Path) -> None:
    service, job = resources(ROOT / "deploy/kubernetes/train.yaml")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert given["NNODES"] == str(job["spec"]["completions"]) == str(job["spec"]["parallelism"])
    assert given["MASTER_ADDR"] == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}  # a label that Kubernetes sets
    assert given["MASTER_PORT"] == str(service["spec"]["ports"][0]["port"])
    words = [*container["command"], *container["args"]]
    named = [word.partition("=")[2] or word for word in words if word.startswith(("recipes/", "deepspeed="))]
    assert len(named) == 2 and all((ROOT / name).is_file() for name in named)


def test_the_slurm_script_has_no_problem_that_shellcheck_knows() -> None:
    subprocess.run([Path(sys.executable).with_name("shellcheck"), "--severity=style", str(SBATCH)], check=True)


def test_slurm_starts_make_once_on_each_node(tmp_path: Path) -> None:
    """Slurm's own programs are not here: these stand for them, and make only tells what it was called with."""
    tell = 'echo "$NODE_RANK/$NNODES at $MASTER_ADDR:$MASTER_PORT torchrun=$FORCE_TORCHRUN: $*"'
    programs = {
        "scontrol": "echo node-a; sleep 0.1; echo node-b",  # as slow as to notice when nobody reads on
        "srun": 'shift; for SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done',
        "make": tell,
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(tmp_path)}
    variables |= {"SLURM_JOB_NODELIST": "node-[a-b]", "SLURM_JOB_NUM_NODES": "2"}
    command = ["bash", str(SBATCH), "MODEL=qwen2-7b", "ARGS=a=1 b=2"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"{rank}/2 at node-a:29500 torchrun=1: train MODEL=qwen2-7b ARGS=a=1 b=2" for rank in (0, 1)
    ]
    del variables["SLURM_SUBMIT_DIR"]
    refused = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert refused.returncode and "submit this with sbatch from the folder of the repository" in refused.stderr
