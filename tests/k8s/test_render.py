from __future__ import annotations

import copy
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from marina.cli import app
from marina.errors import RolloutError
from marina.k8s import Target, render
from marina.recipe import read_recipe
from marina.rollout.spec import read_rollout
from marina.serve import ServeConfig
from tests.k8s.schemas import FOLDER, faults, kind_of, read

REPO = Path(__file__).parents[2]
RECIPE = read_recipe(REPO / "models" / "resnet.yaml")
ROLLOUT = read_rollout(REPO / "models" / "rollouts" / "resnet.yaml")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, list[dict[str, Any]]]:
    out = tmp_path_factory.mktemp("k8s") / "out"
    render(Target(RECIPE, rollout=ROLLOUT), out)
    files: dict[Path, list[dict[str, Any]]] = {}
    for file, manifest in read(out):
        files.setdefault(file, []).append(manifest)
    return files


Rendered = dict[Path, list[dict[str, Any]]]


def of_kind(rendered: Rendered, kind: str, folder: str = "") -> list[dict[str, Any]]:
    return [
        manifest
        for file, manifests in rendered.items()
        for manifest in manifests
        if manifest["kind"] == kind and str(file).startswith(folder)
    ]


def partial(file: Path) -> bool:
    """Kustomize's own files and patches are no whole manifests."""
    return file.name in {"kustomization.yaml", "candidate.yaml"}


def test_everything_fits_the_pinned_schemas(rendered: Rendered) -> None:
    seen = set()
    for file, manifests in rendered.items():
        for manifest in [] if partial(file) else manifests:
            assert faults(manifest) == [], file
            seen.add(kind_of(manifest))
    assert seen >= {
        "apps/v1/Deployment",
        "networking.k8s.io/v1/NetworkPolicy",
        "policy/v1/PodDisruptionBudget",
        "autoscaling/v2/HorizontalPodAutoscaler",
        "gateway.networking.k8s.io/v1/HTTPRoute",
        "gateway.networking.k8s.io/v1/GRPCRoute",
        "serving.kserve.io/v1alpha1/ServingRuntime",
        "serving.kserve.io/v1beta1/InferenceService",
        "flagger.app/v1beta1/Canary",
        "flagger.app/v1beta1/MetricTemplate",
    }


def test_each_schema_names_its_source_and_version() -> None:
    for file in FOLDER.glob("*.json"):
        assert '"source":"' in file.read_text(), file


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", "spec.template.spec.containers.0.imagee", "x"),
        ("Deployment", "spec.template.spec.containers.0.readinessProbe.httpGet.port", {"a": 1}),
        ("Deployment", "spec.selector", None),
        ("Service", "spec.ports.0.port", "http"),
        ("NetworkPolicy", "spec.ingres", []),
        ("PodDisruptionBudget", "spec.maxUnavailabel", 1),
        ("HorizontalPodAutoscaler", "spec.maxReplicas", "six"),
        ("HTTPRoute", "spec.rules.0.backendRefs.0.weight", "90%"),
        ("HTTPRoute", "spec.rules.0.filters.0.requestMirror.percent", 200),
        ("HTTPRoute", "spec.rules.0.filters.0.type", "RequestMiror"),
        ("GRPCRoute", "spec.rules.0.matches.0.path", "/"),
        ("ServingRuntime", "spec.containers", None),
        ("InferenceService", "spec.canary.0.trafficPercent", 101),
        ("InferenceService", "spec.predictor.model.modelFromat", {}),
        ("Canary", "spec.analysis.stepWeights", 10),
        ("Canary", "spec.analysis.metrics.0.thresholdRang", {}),
        ("MetricTemplate", "spec.provider.type", "promethius"),
    ],
)
def test_a_planted_mistake_fails(rendered: Rendered, kind: str, path: str, value: Any) -> None:
    whole = [
        manifest
        for file, manifests in rendered.items()
        for manifest in ([] if partial(file) else manifests)
        if manifest["kind"] == kind
    ]
    manifest = copy.deepcopy(whole[-1])
    target: Any = manifest
    *parents, last = path.split(".")
    for name in parents:
        target = target[int(name) if name.isdigit() else name]
    if value is None:
        del target[last]
    else:
        target[last] = value
    assert faults(manifest), f"{kind} {path} was let through"


def test_weights_and_mirror_are_the_rollout_s(rendered: Rendered) -> None:
    for kind in ("HTTPRoute", "GRPCRoute"):
        (route,) = of_kind(rendered, kind)
        rule = route["spec"]["rules"][0]
        weights = {ref["name"]: ref["weight"] for ref in rule["backendRefs"]}
        assert weights == {"resnet-1-0": 90, "resnet-2-0": 10}
        mirror = rule["filters"][0]["requestMirror"]
        assert (mirror["backendRef"]["name"], mirror["percent"]) == ("resnet-2-0", 20)
    (service,) = of_kind(rendered, "InferenceService")
    assert [canary["trafficPercent"] for canary in service["spec"]["canary"]] == [10]
    (canary,) = of_kind(rendered, "Canary")
    assert canary["spec"]["analysis"]["stepWeights"] == [10, 30, 50]


def test_flagger_asks_the_rollout_s_gates(rendered: Rendered) -> None:
    (canary,) = of_kind(rendered, "Canary")
    metrics = canary["spec"]["analysis"]["metrics"]
    asked = {metric["name"]: metric["thresholdRange"] for metric in metrics}
    assert asked == {
        "error_rate": {"max": 0.02},
        "p50_ratio": {"max": 1.5},
        "p99_ratio": {"max": 2.0},
    }
    templates = {each["metadata"]["name"] for each in of_kind(rendered, "MetricTemplate")}
    refs = {metric["templateRef"]["name"] for metric in metrics}
    assert refs == templates
    for template in of_kind(rendered, "MetricTemplate"):
        assert "$" not in template["spec"]["query"]
        assert "{{ target }}-primary-" in template["spec"]["query"]
    left = canary["metadata"]["annotations"]["marina/gates-left-out"]
    assert left.startswith("class_mix, shadow_agreement, accuracy")


def test_pods_are_restricted_and_wait_for_readiness(rendered: Rendered) -> None:
    deployments = [
        manifest
        for file, manifests in rendered.items()
        for manifest in ([] if partial(file) else manifests)
        if manifest["kind"] == "Deployment"
    ]
    assert len(deployments) == 3
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
        assert container["lifecycle"]["preStop"]["sleep"]["seconds"] > 0
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        drain = int(next(a for a in container["args"] if "drain" in a).partition("=")[2])
        waits = container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain
        assert pod["terminationGracePeriodSeconds"] > waits
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_what_is_named_exists(rendered: Rendered) -> None:
    """Backends, scale targets, budgets and services find what they mean."""
    folder = "gateway-api"
    services = {each["metadata"]["name"]: each for each in of_kind(rendered, "Service", folder)}
    deployments = {
        each["metadata"]["name"]: each for each in of_kind(rendered, "Deployment", folder)
    }
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in deployments.values()]

    def selects_one(labels: dict[str, str]) -> bool:
        return sum(labels.items() <= pod.items() for pod in pods) == 1

    for kind in ("HTTPRoute", "GRPCRoute"):
        for route in of_kind(rendered, kind):
            for rule in route["spec"]["rules"]:
                for backend in rule["backendRefs"]:
                    ports = [port["port"] for port in services[backend["name"]]["spec"]["ports"]]
                    assert backend["port"] in ports
    assert all(selects_one(service["spec"]["selector"]) for service in services.values())
    for budget in of_kind(rendered, "PodDisruptionBudget", folder):
        assert selects_one(budget["spec"]["selector"]["matchLabels"])
    for scaler in of_kind(rendered, "HorizontalPodAutoscaler", folder):
        assert scaler["spec"]["scaleTargetRef"]["name"] in deployments
    metric = scaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
    (rules,) = of_kind(rendered, "ConfigMap")
    assert metric in rules["data"]["config.yaml"]


def test_pods_listen_where_probes_and_scrapes_come(
    rendered: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their arguments are `marina serve`'s, and mean what the rest of the manifest counts on."""
    containers = [
        container
        for kind, path in (("Deployment", ("template", "spec")), ("ServingRuntime", ()))
        for manifest in of_kind(rendered, kind)
        for container in reduce(dict.__getitem__, ("spec", *path), manifest)["containers"]
    ]
    assert len(containers) == 5  # two arms, Flagger's one and its candidate, KServe's
    started: list[tuple[ServeConfig, Path]] = []
    monkeypatch.setattr("marina.serve.resolve", lambda *_: [])
    monkeypatch.setattr(
        "marina.serve.running",
        lambda config, *_, log_dir, **__: started.append((config, log_dir)),
    )
    for container in containers:
        CliRunner().invoke(app, [*container["args"], "resnet-1.0.mar"])
        config, log_dir = started.pop()
        if mounts := container.get("volumeMounts"):  # Flagger's candidate has its Deployment's
            read_only = {mount["mountPath"]: "readOnly" in mount for mount in mounts}
            read_only.setdefault("/mnt/models", True)  # where KServe puts what storageUri names
            assert read_only[str(config.model_store)] is True
            assert read_only[str(log_dir)] is False
        assert config.tokens is False  # a kubelet has none
        assert config.gateway is not None
        assert {config.address, config.metrics_address} == {"0.0.0.0"}
        listening = {config.rest_port, config.metrics_port, config.gateway.metrics_port}
        declared = {port["containerPort"] for port in container.get("ports", [])}
        assert declared <= listening | {config.grpc_port}


def test_kustomizations_list_every_file(rendered: Rendered) -> None:
    for file, (content, *_) in rendered.items():
        if file.name != "kustomization.yaml":
            continue
        listed = {(file.parent / name) for name in content["resources"]}
        listed |= {file.parent / patch["path"] for patch in content.get("patches", [])}
        for path in listed:
            inside = Path(*[part for part in path.parts if part != ".."])
            assert ".." in path.parts or inside in rendered, path
        here = {other for other in rendered if other.parent == file.parent and other != file}
        assert here <= listed


def test_without_a_rollout_there_is_one_arm(tmp_path: Path) -> None:
    render(Target(RECIPE, version="3.0"), tmp_path / "out")
    files = {str(file) for file, _ in read(tmp_path / "out")}
    assert "gateway-api/resnet-3-0.yaml" in files
    assert not any(file.startswith("flagger") for file in files)
    for file, manifest in read(tmp_path / "out"):
        assert partial(file) or faults(manifest) == []


def test_a_later_step_a_sticky_header_and_no_shadow(tmp_path: Path) -> None:
    changed = ROLLOUT.model_dump() | {"shadow": None, "sticky_header": "x-user-id"}
    changed["gates"]["shadow_agreement"] = None
    rollout = type(ROLLOUT).model_validate(changed)
    render(Target(RECIPE, rollout=rollout, step=2), tmp_path / "out")
    route = yaml.safe_load(
        (tmp_path / "out" / "gateway-api" / "routes.yaml").read_text().split("---")[0]
    )
    assert [ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"]] == [50, 50]
    assert "filters" not in route["spec"]["rules"][0]
    assert "x-user-id is not kept" in route["metadata"]["annotations"]["marina/sticky-header"]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    other = read_recipe(REPO / "models" / "cifar10.yaml")
    with pytest.raises(RolloutError, match="the recipe is of cifar10, the rollout of resnet"):
        Target(other, rollout=ROLLOUT)
    with pytest.raises(RolloutError, match="steps 1 to 3, no step 4"):
        Target(RECIPE, rollout=ROLLOUT, step=3)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RolloutError, match="was not rendered here"):
        render(Target(RECIPE), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_command_renders_what_is_checked_in(tmp_path: Path) -> None:
    out = tmp_path / "k8s"
    recipe, rollout = "models/resnet.yaml", "models/rollouts/resnet.yaml"
    arguments = [str(REPO / recipe), "--rollout", str(REPO / rollout), str(out)]
    for _ in range(2):  # an earlier rendering may be replaced
        result = CliRunner().invoke(app, ["k8s", "render", *arguments])
        assert result.exit_code == 0, result.output
    shipped = REPO / "docker" / "k8s"
    fresh = {file.relative_to(out): file.read_text() for file in out.rglob("*.yaml")}
    kept = {file.relative_to(shipped): file.read_text() for file in shipped.rglob("*.yaml")}
    again = f"marina k8s render {recipe} --rollout {rollout} docker/k8s"
    assert fresh == kept, f"render again: {again}"
