"""The files in deploy/ and the replicas in docker-compose.yml, as far as no cluster is needed."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from services.reward_service.metrics import ServingMetrics

ROOT = Path(__file__).parents[1]
MANIFESTS = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/reward-service.yaml").read_text()))
BY_KIND = {manifest["kind"]: manifest for manifest in MANIFESTS}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("kind", BY_KIND)
def test_every_manifest_keeps_to_the_schema_of_kubernetes(kind: str, version: str):
    kubernetes_validate.validate(BY_KIND[kind], version, strict=True)


def test_pods_are_unprivileged_and_bring_no_model_from_elsewhere():
    pod = BY_KIND["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert f"USER {pod['securityContext']['runAsUser']}" in (ROOT / "Dockerfile").read_text()
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in container["env"]
    assert [mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == [
        "tmp"
    ]


def test_pods_are_ready_only_with_a_live_model():
    (container,) = BY_KIND["Deployment"]["spec"]["template"]["spec"]["containers"]

    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz?require=model"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_services_and_budgets_mean_the_pods_and_the_autoscaler_their_deployment():
    labels = BY_KIND["Deployment"]["spec"]["template"]["metadata"]["labels"]
    chosen = [
        BY_KIND["Deployment"]["spec"]["selector"]["matchLabels"],
        BY_KIND["Service"]["spec"]["selector"],
        BY_KIND["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ]

    assert all(selector.items() <= labels.items() for selector in chosen)
    scaled = BY_KIND["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert scaled["name"] == BY_KIND["Deployment"]["metadata"]["name"]
    assert "replicas" not in BY_KIND["Deployment"]["spec"], "the autoscaler owns the number"


def test_replicas_are_added_by_a_metric_that_the_service_has():
    (metric,) = BY_KIND["HorizontalPodAutoscaler"]["spec"]["metrics"]
    adapter = yaml.safe_load((ROOT / "deploy/prometheus/adapter-values.yaml").read_text())
    (rule,) = adapter["rules"]["custom"]
    registry = CollectorRegistry()
    ServingMetrics(registry)

    name = metric["pods"]["metric"]["name"]
    assert rule["name"]["as"] == name
    assert rule["seriesQuery"].split("{")[0] == name
    assert f"\n{name} " in generate_latest(registry).decode()


def test_the_replicas_of_compose_are_equal_and_behind_the_proxy():
    first, second = COMPOSE["reward_service"], COMPOSE["reward_service_2"]
    config = (ROOT / "deploy/nginx/replicas.conf").read_text()

    differ = {key for key in second if second[key] != first.get(key)}
    assert differ == {"profiles", "ports"}
    assert second["ports"] == []
    assert re.findall(r"^ +server (\w+):8001", config, re.MULTILINE) == list(
        COMPOSE["reward_proxy"]["depends_on"]
    )
    assert f"listen {COMPOSE['reward_proxy']['ports'][0].rpartition(':')[2]};" in config
