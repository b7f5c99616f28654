"""The files in cluster/, as far as they can be checked without a cloud or a cluster."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from pydantic import ValidationError
from ray._private.runtime_env.packaging import create_package
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.llm._internal.serve.core.configs.llm_config import LLMConfig
from ray.serve._private.config import DeploymentConfig
from ray.serve.schema import ServeDeploySchema

from more_ray.cli import load_config
from more_ray.config import RunConfig
from more_ray.config.serve import ServeConfig

REPOSITORY = Path(__file__).parents[2]
CLUSTER = REPOSITORY / "cluster"
CLOUDS = [CLUSTER / "aws.yaml", CLUSTER / "gcp.yaml"]
KUBERAY = [
    CLUSTER / "kuberay" / f"{name}.yaml"
    for name in ("raycluster", "rayjob", "rayservice", "policy")
]
SHELLCHECK = Path(sys.executable).parent / "shellcheck"
# KubeRay's custom resource definitions, plain or gzipped: ray-operator/config/crd/bases of
# github.com/ray-project/kuberay. They are large, so no part of this repository.
SCHEMAS = os.environ.get("MORE_RAY_KUBERAY", "")
each_cloud = pytest.mark.parametrize("path", CLOUDS, ids=lambda path: path.stem)
each_resource = pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


# ray up


@each_cloud
def test_ray_accepts_the_clouds_files(path: Path) -> None:
    validate_config(prepare_config(read(path)))


@each_cloud
def test_a_misspelt_key_would_be_noticed(path: Path) -> None:
    config = read(path)
    config["idle_timeout_minuets"] = config.pop("idle_timeout_minutes")
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuets"):
        validate_config(prepare_config(config))


@each_cloud
def test_gpus_are_spot_nodes_from_none_to_some(path: Path) -> None:
    config = read(path)
    head, gpu = (config["available_node_types"][name] for name in ("head", "gpu"))
    assert config["head_node_type"] == "head"
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, config["max_workers"])
    node = gpu["node_config"]
    market = node.get("InstanceMarketOptions", {}).get("MarketType")
    assert market == "spot" or node["scheduling"]["provisioningModel"] == "SPOT"
    assert not {"InstanceMarketOptions", "scheduling"} & set(head["node_config"])
    # What asks for a CPU, as drivers and data tasks do, cannot land there.
    assert gpu["resources"] == {"CPU": 0, "GPU": 4}
    assert "GPU" not in head["resources"]


@each_cloud
def test_nothing_listens_to_the_outside_without_a_token(path: Path) -> None:
    config = read(path)
    start = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"]
    assert any("RAY_AUTH_MODE=token" in command for command in config["setup_commands"])


# The fake provider


def test_ray_accepts_the_local_file() -> None:
    config = read(CLUSTER / "local-autoscaling.yaml")
    module, _, name = config["provider"]["module"].rpartition(".")
    provider = import_module(module)
    assert hasattr(provider, name)
    assert config["provider"]["head_node_id"] == provider.FAKE_HEAD_NODE_ID
    assert config["head_node_type"] == provider.FAKE_HEAD_NODE_TYPE
    understood = AutoscalingConfig(config)
    assert understood.get_idle_timeout_s() == 6
    worker = understood.get_node_type_configs()["worker"]
    assert (worker.min_worker_nodes, worker.max_worker_nodes) == (0, 2)
    assert worker.resources == {"CPU": 1}


# KubeRay


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without room for unknown keys, which Kubernetes would drop without a word."""
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {key: closed(one) for key, one in schema["properties"].items()}
        schema.setdefault("additionalProperties", False)
    if "items" in schema:
        schema["items"] = closed(schema["items"])
    return schema


def crd(kind: str) -> jsonschema.Draft7Validator:
    if not SCHEMAS:
        pytest.skip("MORE_RAY_KUBERAY names no folder of KubeRay's definitions")
    found = sorted(Path(SCHEMAS).glob(f"ray.io_{kind.lower()}s.yaml*"))
    opened = gzip.open if found[0].suffix == ".gz" else open
    with opened(found[0]) as stream:
        definition = yaml.load(stream, Loader=yaml.CSafeLoader)
    versions = {one["name"]: one for one in definition["spec"]["versions"]}
    return jsonschema.Draft7Validator(closed(versions["v1"]["schema"]["openAPIV3Schema"]))


def cluster_of(resource: dict[str, Any]) -> dict[str, Any]:
    spec = resource["spec"]
    return spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec


@each_resource
def test_kuberay_accepts_the_resources(path: Path) -> None:
    resource = read(path)
    schema = crd(resource["kind"])
    schema.validate(resource)
    worker = cluster_of(resource)["workerGroupSpecs"][0]
    worker["template"]["spec"]["tolerationz"] = worker["template"]["spec"].pop("tolerations")
    with pytest.raises(jsonschema.ValidationError, match="tolerationz"):
        schema.validate(resource)


@each_resource
def test_the_pods_are_locked_up_and_fit_together(path: Path) -> None:
    resource = read(path)
    cluster = cluster_of(resource)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == ray.__version__
    for dockerfile in CLUSTER.glob("*Dockerfile"):
        assert f"rayproject/ray:{ray.__version__}-" in dockerfile.read_text()
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    claim = read(CLUSTER / "kuberay" / "shared.yaml")["metadata"]["name"]
    group = cluster["workerGroupSpecs"][0]
    for part in (cluster["headGroupSpec"], group):
        pod = part["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim
        assert "hostPort" not in str(pod)
    if resource["kind"] != "RayService":
        assert group["minReplicas"] == 0
        assert group["rayStartParams"] == {"num-cpus": "0"}


def test_serve_accepts_the_application() -> None:
    service = read(CLUSTER / "kuberay" / "rayservice.yaml")
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    assert config.applications[0].import_path == "more_ray.serve.app:build_app"
    ServeConfig.model_validate(config.applications[0].args)
    groups = [cluster_of(service)["headGroupSpec"], *cluster_of(service)["workerGroupSpecs"]]
    for group in groups:
        (token,) = group["template"]["spec"]["containers"][0]["env"]
        assert token["name"] == "MORE_RAY_TOKEN"
        assert "secretKeyRef" in token["valueFrom"]


def test_serve_and_its_llms_accept_the_policy() -> None:
    service = read(CLUSTER / "kuberay" / "policy.yaml")
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    (policy,) = config.applications
    assert policy.import_path == "ray.serve.llm:build_openai_app"
    # The module of that name, and LLMServingArgs with it, needs vLLM.
    (given,) = policy.args.pop("llm_configs")
    assert not policy.args
    understood = LLMConfig.model_validate(given)
    assert understood.model_id == "policy"
    assert (
        understood.engine_kwargs["generation_config"] == "vllm"
    )  # no sampling settings of its own
    replicas = understood.deployment_config["autoscaling_config"]["max_replicas"]
    assert replicas <= cluster_of(service)["workerGroupSpecs"][0]["maxReplicas"]
    DeploymentConfig.model_validate(understood.deployment_config)
    for wrong in ({"engine_kwarg": {}}, {"model_loading_config": {"model": "policy"}}):
        with pytest.raises(ValidationError):
            LLMConfig.model_validate(given | wrong)
    pinned = f"ray[llm]=={ray.__version__}"
    assert pinned in (CLUSTER / "policy.Dockerfile").read_text()


def test_only_pods_of_ray_and_its_operator_reach_the_policy() -> None:
    service = read(CLUSTER / "kuberay" / "policy.yaml")
    network = read(CLUSTER / "kuberay" / "policy-network.yaml")["spec"]
    chosen = network["podSelector"]["matchLabels"]
    cluster = cluster_of(service)
    for part in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert part["template"]["metadata"]["labels"] == chosen
    assert network["policyTypes"] == ["Ingress"]
    pods, operator = network["ingress"]
    assert pods["from"][0]["podSelector"]["matchExpressions"][0]["key"] == "ray.io/node-type"
    assert operator["from"][0]["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "kuberay-operator"
    }
    assert "serveService" not in service["spec"]  # KubeRay makes a ClusterIP


def test_the_jobs_command_line_is_one() -> None:
    job = read(CLUSTER / "kuberay" / "rayjob.yaml")
    python, script, *arguments = job["spec"]["entrypoint"].split()
    inside = [one.replace("/home/ray/more_ray", str(REPOSITORY)) for one in (script, *arguments)]
    assert python == "python"
    assert Path(inside[0]).exists()
    config = load_config(RunConfig, inside[1:], "")
    # An autoscaling cluster starts without a GPU, so this must not be left to what is there.
    assert config.train.use_gpu
    group = cluster_of(job)["workerGroupSpecs"][0]
    assert config.train.workers <= group["maxReplicas"]


# Shell, and what a job uploads


def scripts() -> dict[str, str]:
    found = {}
    for path in CLOUDS:
        config = read(path)
        for key in config:
            if key.endswith("_commands"):
                found[f"{path.stem}-{key}"] = "\n".join(config[key])
    for path in CLUSTER.glob("*Dockerfile"):
        lines = path.read_text().replace("\\\n", " ").splitlines()
        runs = [line.removeprefix("RUN ") for line in lines if line.startswith("RUN ")]
        found[path.name] = "\n".join(runs)
    blocks = re.findall(r"```bash\n(.*?)```", (CLUSTER / "README.md").read_text(), re.DOTALL)
    found["README"] = "\n".join(blocks)
    return found


@pytest.mark.parametrize("name", scripts())
def test_shellcheck_finds_nothing(name: str) -> None:
    result = subprocess.run(
        [SHELLCHECK, "--shell=bash", "--exclude=SC2164", "-"],  # SC2164: `cd` that may fail
        input=scripts()[name],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout


def test_a_job_uploads_little(tmp_path: Path) -> None:
    package = tmp_path / "package.zip"
    create_package(str(REPOSITORY), package, include_gitignore=True)
    names = zipfile.ZipFile(package).namelist()
    assert package.stat().st_size < 2**21  # the code alone, not packed, has half of that
    assert {"jobs/train_more.py", "more_ray/config/ready/paper.yaml", "more_ray/cli.py"} <= set(
        names
    )
    assert {name.split("/")[0] for name in names}.isdisjoint({".git", ".venv", "tests", "outputs"})
