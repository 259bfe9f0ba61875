"""The SkyPilot task: valid for SkyPilot, words byte for byte, no value of a variable in it."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from launch_cases import ANY_WORDS, HARD_WORDS, STAND_IN, executable, job, said, words_after_dashes

from tr_grpo.trainer.launch.skypilot import TASK, Options, render

SCHEMAS = json.loads(Path(__file__).with_name("skypilot_schema.json").read_text())
FULL = Options(
    "H200", "aws/us-east-1", "docker:image", True, "pip install tr-grpo", "s3://bucket", "/shared", True, "32+"
)


def task(options: Options = FULL, **changes: object) -> dict:
    return yaml.safe_load(render(job(**changes), options).files[TASK])  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [Options(), FULL])
@pytest.mark.parametrize("gpus", [True, False])
def test_skypilot_s_schemas_take_the_task(options: Options, gpus: bool) -> None:
    made = task(options, gpus=gpus, variables=("HF_TOKEN",))
    jsonschema.validate(made, SCHEMAS["task"])
    jsonschema.validate(made.get("resources", {}), SCHEMAS["resources"])


def test_the_schema_would_notice_a_misspelt_field() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(task() | {"num_node": 2}, SCHEMAS["task"])


def words_of_a_node(tmp_path: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    program = executable(tmp_path / "tr-grpo", STAND_IN)
    script = task(words=words, program=str(program), folder=tmp_path)["run"]
    return said(["bash", "-c", script], tmp_path).words


def test_the_words_reach_each_node_byte_for_byte(tmp_path: Path) -> None:
    words = words_of_a_node(tmp_path, HARD_WORDS)
    assert words[:3] == ("launch", "node", "--port=6379")
    assert words_after_dashes(words) == HARD_WORDS


@settings(max_examples=15)
@given(words=ANY_WORDS)
def test_any_words_survive_yaml_and_bash(tmp_path_factory: pytest.TempPathFactory, words: tuple[str, ...]) -> None:
    assert words_after_dashes(words_of_a_node(tmp_path_factory.mktemp("any"), words)) == words


def test_nodes_and_devices_are_the_run_s() -> None:
    made = task()
    assert made["num_nodes"] == 2
    assert made["resources"]["accelerators"] == "H200:8"
    assert "accelerators" not in task(gpus=False)["resources"]


def test_values_are_given_on_submission_alone() -> None:
    rendered = render(job(variables=("HF_TOKEN",)), FULL)
    assert yaml.safe_load(rendered.files[TASK])["secrets"] == {"HF_TOKEN": None, "RAY_AUTH_TOKEN": None}
    (command,) = rendered.commands
    assert command[:3] == ("sky", "jobs", "launch")
    assert command[-5:] == ("--secret", "HF_TOKEN", "--secret", "RAY_AUTH_TOKEN", TASK)
