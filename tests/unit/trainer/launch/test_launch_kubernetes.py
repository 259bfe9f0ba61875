"""The RayJob: valid for KubeRay, words byte for byte, no secret in it."""

import json
from importlib import metadata
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from launch_cases import ANY_WORDS, HARD_WORDS, STAND_IN, executable, job, said, words_after_dashes

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.launch.kubernetes import MANIFEST, SCRIPT, Options, object_name, render

SCHEMA = json.loads(Path(__file__).with_name("rayjob_schema.json").read_text())
SHARED = Options("registry/image:1", claim="shared", secret="keys")


def documents(options: Options = SHARED, **changes: object) -> tuple[dict, dict]:
    config_map, ray_job = yaml.safe_load_all(render(job(**changes), options).files[MANIFEST])  # type: ignore[arg-type]
    return config_map, ray_job


@pytest.mark.parametrize("nodes", [1, 2, 16])
@pytest.mark.parametrize("gpus", [True, False])
def test_kuberay_s_schema_takes_the_job(nodes: int, gpus: bool) -> None:
    _, ray_job = documents(nodes=nodes, gpus=gpus, cpus=None if gpus else 32, variables=("HF_TOKEN",))
    jsonschema.validate(ray_job, SCHEMA)


def test_the_schema_would_notice_a_misspelt_field() -> None:
    _, ray_job = documents()
    ray_job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imag"] = "x"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(ray_job, SCHEMA)


def entry_script(tmp_path: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    program = executable(tmp_path / "tr-grpo", STAND_IN)
    config_map, _ = documents(words=words, program=str(program), folder=tmp_path)
    script = executable(tmp_path / SCRIPT, config_map["data"][SCRIPT])
    return said(["bash", str(script)], tmp_path).words


def test_the_words_reach_the_driver_byte_for_byte(tmp_path: Path) -> None:
    words = entry_script(tmp_path, HARD_WORDS)
    assert words[:5] == ("launch", "drive", "--nodes=2", "--devices=8", "--wait=600")
    assert words_after_dashes(words) == HARD_WORDS


@settings(max_examples=15)
@given(words=ANY_WORDS)
def test_any_words_survive_yaml_and_bash(tmp_path_factory: pytest.TempPathFactory, words: tuple[str, ...]) -> None:
    assert words_after_dashes(entry_script(tmp_path_factory.mktemp("any"), words)) == words


def test_head_and_workers_have_the_same_machine() -> None:
    _, ray_job = documents(nodes=3)
    cluster = ray_job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    assert (workers["replicas"], workers["minReplicas"], workers["maxReplicas"]) == (2, 2, 2)
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    (worker,) = workers["template"]["spec"]["containers"]
    assert head["resources"] == worker["resources"]
    assert head["resources"]["limits"]["nvidia.com/gpu"] == 8
    # KubeRay refuses token authentication without a version, and before 2.52.
    assert (cluster["authOptions"], cluster["rayVersion"]) == ({"mode": "token"}, metadata.version("ray"))
    assert documents(nodes=1)[1]["spec"]["rayClusterSpec"]["workerGroupSpecs"] == []


def test_a_variable_comes_from_the_secret_by_its_name() -> None:
    _, ray_job = documents(variables=("HF_TOKEN",))
    (container,) = ray_job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    reference = {"secretKeyRef": {"name": "keys", "key": "HF_TOKEN"}}
    assert container["env"] == [{"name": "HF_TOKEN", "valueFrom": reference}]


def test_a_variable_without_a_secret_and_nodes_without_a_shared_folder_are_refused() -> None:
    with pytest.raises(InputError, match="--secret"):
        render(job(variables=("HF_TOKEN",)), Options("image", claim="shared"))
    with pytest.raises(InputError, match="--claim"):
        render(job(nodes=2), Options("image"))
    render(job(nodes=1), Options("image"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("knights_knaves-tiny-TR", "knights-knaves-tiny-tr"), ("7b run", "run-7b-run"), ("x" * 90, "x" * 47)],
)
def test_names_are_what_kubernetes_takes(name: str, expected: str) -> None:
    assert object_name(name) == expected


def test_a_name_without_a_letter_is_refused() -> None:
    with pytest.raises(InputError, match="experiment_name"):
        object_name("___")
