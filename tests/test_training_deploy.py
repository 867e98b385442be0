"""What deploy/ and scripts/ offer to those who train: manifests, configurations, entry points."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from heed_cli.client_commands import _as_heed_says
from heed_cli.container import command_of
from services.trainer.config import TrainerSettings
from services.trainer.launchers.launching import launcher_of
from services.trainer.launchers.torchrun import Torchrun

ROOT = Path(__file__).parents[1]
KUBERNETES = ROOT / "deploy/kubernetes/training"
MANIFESTS = {path.stem: yaml.safe_load(path.read_text()) for path in KUBERNETES.glob("*.yaml")}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def closed(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """The schema of an object with these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT, NUMBER, FLAG, ANY = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {}
WORDS = {"type": "object", "additionalProperties": TEXT}
# The parts of the two custom resources that the manifests use, as their operators declare them;
# the pods within are checked against the schema of Kubernetes itself.
JOBSET = closed(
    ("replicatedJobs",),
    ttlSecondsAfterFinished=NUMBER,
    network=closed(enableDNSHostnames=FLAG, subdomain=TEXT, publishNotReadyAddresses=FLAG),
    successPolicy=closed(
        ("operator",), operator={"enum": ["All", "Any"]}, targetReplicatedJobs={"type": "array"}
    ),
    failurePolicy=closed(maxRestarts=NUMBER),
    replicatedJobs={
        "type": "array",
        "items": closed(("name", "template"), name=TEXT, replicas=NUMBER, template=ANY),
    },
)
RAYJOB = closed(
    entrypoint=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=NUMBER,
    activeDeadlineSeconds=NUMBER,
    rayClusterSpec=closed(
        ("headGroupSpec",),
        rayVersion=TEXT,
        headGroupSpec=closed(("rayStartParams", "template"), rayStartParams=WORDS, template=ANY),
        workerGroupSpecs={
            "type": "array",
            "items": closed(
                ("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
                groupName=TEXT,
                replicas=NUMBER,
                minReplicas=NUMBER,
                maxReplicas=NUMBER,
                rayStartParams=WORDS,
                template=ANY,
            ),
        },
    ),
)


def pods() -> dict[str, dict[str, Any]]:
    """The template of every pod by where it stands."""
    found = {name: MANIFESTS[name]["spec"]["template"] for name in ("worker", "job")}
    for job in MANIFESTS["jobset"]["spec"]["replicatedJobs"]:
        found[f"jobset {job['name']}"] = job["template"]["spec"]["template"]
    cluster = MANIFESTS["rayjob"]["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        found[f"rayjob {group.get('groupName', 'head')}"] = group["template"]
    return found


PODS = pods()


def environment(pod: dict[str, Any]) -> dict[str, str]:
    (container,) = pod["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_manifests_keep_to_the_schema_of_kubernetes(version: str):
    for name in ("worker", "job"):
        kubernetes_validate.validate(MANIFESTS[name], version, strict=True)
    for name, pod in PODS.items():
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}}
        kubernetes_validate.validate(whole | {"spec": pod["spec"]}, version, strict=True)
        assert pod["metadata"]["labels"], name
    for job in MANIFESTS["jobset"]["spec"]["replicatedJobs"]:
        whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job["name"]}}
        kubernetes_validate.validate(whole | job["template"], version, strict=True)


@pytest.mark.parametrize(
    ("name", "kind", "schema"),
    [
        ("jobset", ("jobset.x-k8s.io/v1alpha2", "JobSet"), JOBSET),
        ("rayjob", ("ray.io/v1", "RayJob"), RAYJOB),
    ],
)
def test_custom_resources_are_spelled_as_their_operators_read_them(name, kind, schema):
    manifest = MANIFESTS[name]

    assert (manifest["apiVersion"], manifest["kind"]) == kind
    jsonschema.validate(manifest["spec"], schema)


@pytest.mark.parametrize("name", PODS)
def test_pods_that_train_are_unprivileged_and_given_time_to_save(name: str):
    pod = PODS[name]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert f"USER {pod['securityContext']['runAsUser']}" in (ROOT / "Dockerfile").read_text()
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["terminationGracePeriodSeconds"] > TrainerSettings().worker_grace_s


@pytest.mark.parametrize("name", PODS)
def test_pods_are_given_settings_that_there_are(name: str):
    fields = TrainerSettings.model_fields
    told = environment(PODS[name]).items()
    given = {key[5:].lower(): value for key, value in told if key.startswith("HEED_")}

    settings = TrainerSettings(**given)

    assert set(given) <= set(fields)
    assert settings.launch_processes >= 1


@pytest.mark.parametrize("name", ["jobset main", "jobset beside", "rayjob head", "rayjob trainers"])
def test_pods_of_one_run_share_the_base_models_on_the_volume_of_the_artifacts(name: str):
    (container,) = PODS[name]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    claims = [
        one["name"] for one in PODS[name]["spec"]["volumes"] if "persistentVolumeClaim" in one
    ]

    assert claims == ["artifacts"]
    assert environment(PODS[name])["HF_HOME"] == f"{mounts['artifacts']}/.base-models"


@pytest.mark.parametrize(
    ("service", "variable"),
    [("feedback_api", "HEED_TRAINING_ALLOW"), ("trainer", "HEED_WORKER_GRACE_S")],
)
def test_compose_passes_on_what_the_docs_tell_people_to_set(service: str, variable: str):
    assert COMPOSE[service]["environment"][variable].startswith(f"${{{variable}:-")


def test_the_two_hosts_of_the_jobset_meet_where_its_first_pod_is(monkeypatch):
    main, beside = (environment(PODS[f"jobset {name}"]) for name in ("main", "beside"))
    spec = MANIFESTS["jobset"]["spec"]
    first = f"{MANIFESTS['jobset']['metadata']['name']}-main-0-0.{spec['network']['subdomain']}"
    for name, value in main.items():
        monkeypatch.setenv(name, value)

    launcher = launcher_of(TrainerSettings())

    assert isinstance(launcher, Torchrun)
    assert launcher._config()["rdzv_endpoint"] == f"{first}:29400"
    assert {name: main[name] for name in beside} == beside
    (container,) = PODS["jobset beside"]["spec"]["containers"]
    assert container["command"][-1].endswith("python -m services.trainer --beside")


@pytest.mark.parametrize("name", ["fsdp", "fsdp-offload"])
def test_sharding_by_pytorch_is_what_transformers_takes(name: str, tmp_path: Path):
    from transformers import TrainingArguments

    given = yaml.safe_load((ROOT / f"deploy/training/{name}.yaml").read_text())

    arguments = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, fsdp=True, fsdp_config=dict(given), report_to="none"
    )

    assert arguments.fsdp_plugin_args["fsdp_version"] == 2
    assert arguments.fsdp_plugin_args["state_dict_type"] == "FULL_STATE_DICT"
    assert arguments.fsdp_plugin_args.get("cpu_offload", False) is (name == "fsdp-offload")


@pytest.mark.parametrize("stage", [2, 3])
def test_the_configurations_of_deepspeed_leave_to_the_run_what_the_run_says(stage: int):
    config = json.loads((ROOT / f"deploy/training/deepspeed-zero{stage}.json").read_text())

    assert config["zero_optimization"]["stage"] == stage
    own = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    assert {config[name] for name in own} == {"auto"}


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("train ppo --base-model gpt2", "heed train ppo --base-model gpt2"),
        ("heed train embedding", "heed train embedding"),
        ("", "python -m services.trainer"),
        ("python -m services.trainer", "python -m services.trainer"),
    ],
)
def test_the_container_takes_sub_commands_of_heed_without_its_name(words: str, command: str):
    assert command_of(words.split(), is_sagemaker=False) == command.split()


def test_the_container_is_started_by_sagemaker_with_the_one_word_train():
    command = command_of(["train"], is_sagemaker=True)

    assert command == ["python", "-m", "services.trainer.launchers.sagemaker"]
    assert COMPOSE["trainer"]["entrypoint"] == ["heed_container"]
    assert 'ENTRYPOINT ["heed_container"]' in (ROOT / "Dockerfile").read_text()


def test_the_old_flags_of_ppo_are_options_of_heed():
    typed = ["--reward-model", "D", "--epochs", "2", "--target-kl=0.2", "--mini-batch-size", "8"]

    assert _as_heed_says(typed) == [
        "--reward", "D", "--epochs", "2", "--set", "target_kl=0.2", "--set", "mini_batch_size=8",
    ]  # fmt: skip


@pytest.fixture
def said(tmp_path: Path):
    """Runs the script with commands that only write down how they were called."""
    for name in ("heed", "train_ppo"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho {name} "$@" >>"$SAID"\n')
        path.chmod(0o755)

    def run(*words: str, **given: str) -> tuple[int, list[str]]:
        log = tmp_path / "said"
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"  # noqa: TID251 - of the shell
        done = subprocess.run(
            [ROOT / "scripts/train_model.sh", *words],
            env={"PATH": path, "SAID": str(log), **given},
            cwd=tmp_path,
            capture_output=True,
        )
        return done.returncode, log.read_text().splitlines() if log.exists() else []

    return run


def test_the_script_trains_both_with_the_defaults_people_know(said, tmp_path: Path):
    ending, (reward, ppo) = said("both")

    assert ending == 0
    assert reward.split()[:3] == ["heed", "train", "reward"]
    for option in ("--base-model bert-base-uncased", "--epochs 3", "--batch-size 8",
                   "--learning-rate 2e-5", "--output rlhf/models/reward_model"):  # fmt: skip
        assert option in reward
    for option in ("--base-model gpt2", "--batch-size 16", "--learning-rate 1.4e-5",
                   "--output rlhf/models/ppo_model"):  # fmt: skip
        assert option in ppo
    assert "--reward-model" not in ppo, "there is none in that folder: the live one counts"


def test_the_script_takes_variables_options_and_a_reward_model_it_finds(said, tmp_path: Path):
    model = tmp_path / "rlhf/models/reward_model"
    model.mkdir(parents=True)
    (model / "reward_model.json").write_text("{}")

    ending, (ppo,) = said("ppo", "--seed", "7", PPO_EPOCHS="2", DATASET="mine.jsonl")

    assert ending == 0
    assert "--reward-model rlhf/models/reward_model --dataset mine.jsonl --seed 7" in ppo
    assert "--epochs 2" in ppo


@pytest.mark.parametrize("words", [("all",), ("both", "--epochs", "2")])
def test_the_script_refuses_what_it_does_not_know(said, words: tuple[str, ...]):
    assert said(*words) == (2, [])


def test_training_is_weekly_and_its_models_are_kept():
    text = (ROOT / ".github/workflows/train.yml").read_text()
    workflow = yaml.safe_load(text)
    steps = workflow["jobs"]["train"]["steps"]

    assert workflow[True]["schedule"] == [{"cron": "0 1 * * 0"}]  # YAML reads `on` as true
    assert any(step.get("run") == 'scripts/train_model.sh "$WHAT"' for step in steps)
    assert any("upload-artifact" in step.get("uses", "") for step in steps)
    assert "permissions: {contents: read}" in text


def test_weekly_training_refuses_a_database_without_a_place_for_what_it_names():
    workflow = yaml.safe_load((ROOT / ".github/workflows/train.yml").read_text())
    first, second, *rest = workflow["jobs"]["train"]["steps"]

    ended = subprocess.run(["bash", "-e", "-c", second["run"]], capture_output=True, text=True)

    assert first["id"] == "asked"
    asked = "steps.asked.outputs.is_set == 'true' && env.HEED_ARTIFACT_URL == ''"
    assert (second["if"], ended.returncode) == (asked, 1)
    assert ended.stdout.startswith("::error::Set the variable HEED_ARTIFACT_URL")
    assert rest


def test_the_example_of_a_sagemaker_job_asks_for_a_run_that_there_is():
    from shared.contracts.training import RunKind

    job = json.loads((ROOT / "deploy/sagemaker/training-job.json").read_text())

    assert RunKind(job["HyperParameters"]["kind"])
    assert all(isinstance(value, str) for value in job["HyperParameters"].values())
    assert [channel["ChannelName"] for channel in job["InputDataConfig"]] == ["training"]
