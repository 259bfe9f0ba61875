"""Hydra groups: every combination composes, the paper's preset is the paper's, errors help."""

import functools
import itertools
import re
from pathlib import Path

import jinja2
import pytest
from omegaconf import DictConfig, OmegaConf

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.compose import CONFIG_FOLDER, GROUPS, compose, environment, options


def flat(config: DictConfig) -> dict[str, object]:
    leaves: dict[str, object] = {}

    def walk(node: object, path: str) -> None:
        if isinstance(node, dict):
            for name, value in node.items():
                walk(value, f"{path}.{name}" if path else str(name))
        else:
            leaves[path] = node

    walk(OmegaConf.to_container(config, resolve=True, throw_on_missing=False), "")
    return leaves


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_of_every_group_composes_and_resolves(group: str) -> None:
    """Each option once; tests/e2e/test_configs.py composes every combination."""
    for name in options(group):
        config = compose([f"{group}={name}"])
        assert OmegaConf.to_container(config, resolve=True)["group"][group] == name


# method.md's table of the paper's Knights & Knaves settings (AR-Lopti's set-up), key by key.
PAPER = {
    "data.train_batch_size": 64,
    "actor_rollout_ref.rollout.n": 8,
    "actor_rollout_ref.actor.ppo_mini_batch_size": 32,  # prompts: 256 responses, two updates a step
    "trainer.total_epochs": 5,
    "trainer.total_training_steps": None,
    "actor_rollout_ref.actor.optim.optimizer": "AdamW",
    "actor_rollout_ref.actor.optim.lr": 1e-6,
    "actor_rollout_ref.actor.grad_clip": 1.0,
    "actor_rollout_ref.actor.optim.clip_grad": 1.0,
    "actor_rollout_ref.actor.clip_ratio_low": 0.2,
    "actor_rollout_ref.actor.clip_ratio_high": 0.24,
    "actor_rollout_ref.actor.clip_ratio_c": 10.0,
    "actor_rollout_ref.actor.use_kl_loss": True,
    "actor_rollout_ref.actor.kl_loss_coef": 0.001,
    "actor_rollout_ref.actor.kl_loss_type": "low_var_kl",
    "actor_rollout_ref.actor.entropy_coeff": 0,
    "actor_rollout_ref.actor.loss_agg_mode": "token-mean",
    "actor_rollout_ref.actor.ppo_epochs": 1,
    "algorithm.adv_estimator": "grpo",
    "algorithm.norm_adv_by_std_in_grpo": True,
    "algorithm.use_kl_in_reward": False,
    "actor_rollout_ref.rollout.temperature": 0.7,
    "actor_rollout_ref.rollout.top_p": 1,
    "actor_rollout_ref.rollout.top_k": -1,
    "data.max_prompt_length": 400,
    "data.max_response_length": 4096,
    "trainer.test_freq": 20,
    "trainer.n_gpus_per_node": 4,
    "trainer.nnodes": 1,
    "actor_rollout_ref.model.path": "Qwen/Qwen2.5-3B-Instruct",
    "reward.reward_kwargs.rule": "logic_rl",
}


ALGORITHMS_OF_THE_TASK = ("grpo", "tr_grpo", "tr_grpo_eq9", "tr_grpo_uniform", "ar_grpo", "lopti")


@pytest.mark.parametrize("algo", ALGORITHMS_OF_THE_TASK)
@pytest.mark.parametrize(
    ("llm", "path"), [("qwen2_5_3b_instruct", "3B-Instruct"), ("qwen2_5_7b_instruct_1m", "7B-Instruct-1M")]
)
def test_paper_preset_matches_its_table_key_by_key(algo: str, llm: str, path: str) -> None:
    config = compose([f"algo={algo}", "task=knights_knaves", f"llm={llm}", "cluster=node_4x80gb"])
    expected = PAPER | {"actor_rollout_ref.model.path": f"Qwen/Qwen2.5-{path}"}
    found = flat(config)
    assert {key: found[key] for key in expected} == expected


# DeepScaleR's first stage, checked against its published script, and what is known of AR-Lopti's
# math runs. DeepScaleR's script evaluates 8 samples, its report 16.
MATH_PRESETS = {
    "math_deepscaler": {
        "data.train_batch_size": 128,
        "actor_rollout_ref.actor.ppo_mini_batch_size": 64,
        "actor_rollout_ref.actor.optim.lr": 1e-6,
        "actor_rollout_ref.rollout.n": 8,
        "data.max_prompt_length": 1024,
        "data.max_response_length": 8192,
        "actor_rollout_ref.actor.use_kl_loss": True,
        "actor_rollout_ref.actor.kl_loss_coef": 0.001,
        "actor_rollout_ref.actor.kl_loss_type": "low_var_kl",
        "actor_rollout_ref.actor.ppo_epochs": 1,
        "actor_rollout_ref.actor.clip_ratio_low": 0.2,
        "actor_rollout_ref.actor.clip_ratio_high": 0.2,
        "actor_rollout_ref.rollout.temperature": 0.6,
        "actor_rollout_ref.rollout.val_kwargs.temperature": 0.6,
        "actor_rollout_ref.rollout.val_kwargs.do_sample": True,
        "actor_rollout_ref.rollout.val_kwargs.n": 16,
        "algorithm.adv_estimator": "grpo",
        "trainer.total_epochs": 30,
        "trainer.save_freq": 20,
        "trainer.test_freq": 20,
        "trainer.val_before_train": True,
        "data.train_files": "data/deepscaler/train.parquet",
    },
    "math_orz": {
        "data.train_batch_size": 64,
        "actor_rollout_ref.actor.ppo_mini_batch_size": 32,
        "actor_rollout_ref.actor.optim.lr": 1e-6,
        "actor_rollout_ref.rollout.n": 8,
        "actor_rollout_ref.actor.kl_loss_coef": 0.001,
        "actor_rollout_ref.actor.clip_ratio_low": 0.2,
        "actor_rollout_ref.actor.clip_ratio_high": 0.24,
        "actor_rollout_ref.actor.clip_ratio_c": 10.0,
        "actor_rollout_ref.rollout.temperature": 0.7,
        "data.train_files": "data/orz/train.parquet",
    },
}
BOTH = {
    "actor_rollout_ref.actor.loss_agg_mode": "token-mean",
    "actor_rollout_ref.actor.entropy_coeff": 0,
    "actor_rollout_ref.actor.grad_clip": 1.0,
    "algorithm.norm_adv_by_std_in_grpo": True,
    "reward.reward_kwargs.scorer": "tr_grpo.reward.math",
    "reward.reward_kwargs.rule": "accuracy",
    "reward.reward_kwargs.overlong.mode": "count",
}


@pytest.mark.parametrize("task", sorted(MATH_PRESETS))
def test_math_presets_match_their_tables_key_by_key(task: str) -> None:
    found = flat(compose([f"task={task}", "llm=qwen2_5_7b", "cluster=node_8x80gb"]))
    expected = MATH_PRESETS[task] | BOTH
    assert {key: found[key] for key in expected} == expected
    evaluated = {Path(file).parent.name for file in found["data.val_files"]}
    assert evaluated >= {"aime24", "amc23", "math500", "minerva", "olympiadbench"}


def test_a_models_own_needs_win_over_the_tasks() -> None:
    config = compose(["task=math_deepscaler", "llm=qwen2_5_math_7b"])
    assert config.data.max_prompt_length + config.data.max_response_length == 4096
    assert compose(["llm=deepseek_r1_distill_qwen_1_5b"]).reward.reward_kwargs.judge_kwargs.thinking_prefilled


def test_the_template_of_base_models_reads_as_a_question_to_answer() -> None:
    template = compose(["llm=base_model"]).actor_rollout_ref.model.custom_chat_template
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]
    rendered = jinja2.Template(template).render(messages=messages, add_generation_prompt=True)
    assert rendered == "Be brief.\n\nQuestion: 1 + 1?\n\nAnswer:"


NAMED_AFTER_THE_RUN = {
    "group.algo",
    "trainer.experiment_name",
    "trainer.default_local_dir",
    "reward.reward_kwargs.error_folder",
    "actor_rollout_ref.actor.policy_loss.record_folder",
    "actor_rollout_ref.rollout.trace.experiment_name",
}
ACTOR = "actor_rollout_ref.actor."
LOSS = ACTOR + "policy_loss."
PAPER_RUN = ("task=knights_knaves", "llm=qwen2_5_3b_instruct", "cluster=node_4x80gb")


@functools.cache
def composed(algo: str) -> dict[str, object]:
    return flat(compose([f"algo={algo}", *PAPER_RUN]))


def differences(one: str, other: str) -> dict[str, object]:
    """What algo=other sets differently from algo=one, but for the run's name and the critic, which GRPO has not.

    verl copies the actor's aggregation to the critic's config by interpolation.
    """
    before, after = composed(one), composed(other)
    different = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    return {key: after.get(key) for key in different - NAMED_AFTER_THE_RUN if not key.startswith("critic.")}


WEIGHTED = {name.removeprefix("tr_"): name for name in options("algo") if re.fullmatch(r"tr_(?!grpo_).*", name)}
WEIGHT_KEYS = {
    "_target_", "loss_mode", "base_loss", "shape", "alpha", "tau", "mu", "lower", "upper", "a", "probability",
    "placement", "normalize", "weighted_kl",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(WEIGHTED))
def test_a_weighted_algorithm_differs_from_the_plain_one_in_the_policy_loss_alone(name: str) -> None:
    different = differences(name, WEIGHTED[name])
    assert different.keys() == {LOSS + key for key in WEIGHT_KEYS}
    assert different[LOSS + "loss_mode"] == "tr_grpo"
    assert different[LOSS + "base_loss"] == composed(name)[LOSS + "loss_mode"]
    weight = {key: different[LOSS + key] for key in ("shape", "alpha", "tau", "mu", "lower", "upper")}
    assert weight == {"shape": "sigmoid", "alpha": 2.0, "tau": 9.0, "mu": 0.25, "lower": 1.0, "upper": 1.4}


def test_every_loss_has_a_weighted_twin() -> None:
    unweighted = {
        name for name in options("algo") if not composed(name)[LOSS + "_target_"].endswith("TRGRPOLossConfig")
    }
    assert unweighted - {"lopti"} == set(WEIGHTED)


VARIANTS = {
    "tr_grpo_eq9": {"placement": "ratio"},
    "tr_grpo_reverse": {"shape": "reverse"},
    "tr_grpo_normalized": {"probability": "old", "normalize": True},
    "tr_grpo_uniform": {"shape": "uniform"},
    "ar_grpo": {"shape": "linear", "probability": "old"},
    "ar_lopti": {"shape": "linear", "probability": "old", "lopti_threshold": 0.5},
}


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_variants_of_tr_grpo_differ_in_what_their_name_says(name: str) -> None:
    assert differences("tr_grpo", name) == {LOSS + key: value for key, value in VARIANTS[name].items()}


NO_KL = {ACTOR + "use_kl_loss": False}
PLAIN = {
    "lopti": {LOSS + "lopti_threshold": 0.5},
    "dr_grpo": NO_KL
    | {
        "algorithm.norm_adv_by_std_in_grpo": False,
        ACTOR + "loss_agg_mode": "seq-mean-token-sum-norm",
        ACTOR + "loss_scale_factor": 4096,
    },
    "dapo": NO_KL
    | {
        ACTOR + "clip_ratio_high": 0.28,
        "algorithm.filter_groups.enable": True,
        "algorithm.filter_groups.metric": "acc",
        "trainer.v1.sampler.sampler_kwargs.filter_groups.enable": True,
        "trainer.v1.sampler.sampler_kwargs.filter_groups.metric": "acc",
        "reward.reward_kwargs.overlong.mode": "penalize",
        "trainer.v1.sampler.sampler_kwargs.overlong": "penalize",
    },
    "gspo": NO_KL
    | {
        LOSS + "loss_mode": "gspo",
        ACTOR + "loss_agg_mode": "seq-mean-token-mean",
        ACTOR + "clip_ratio_low": 3e-4,
        ACTOR + "clip_ratio_high": 4e-4,
    },
    "cispo": NO_KL | {LOSS + "loss_mode": "cispo", ACTOR + "clip_ratio_low": 10, ACTOR + "clip_ratio_high": 0.2},
    "sapo": NO_KL
    | {LOSS + "loss_mode": "sapo", ACTOR + "loss_agg_mode": "seq-mean-token-mean"},  # tau_*: verl's defaults
    "gpg": NO_KL | {LOSS + "loss_mode": "gpg", "algorithm.adv_estimator": "gpg"},
    "geo_mean": NO_KL | {LOSS + "loss_mode": "geo_mean", ACTOR + "clip_ratio_low": 0.4, ACTOR + "clip_ratio_high": 0.4},
    "clip_cov": NO_KL | {LOSS + "loss_mode": "clip_cov", ACTOR + "clip_ratio_low": 1, ACTOR + "clip_ratio_high": 1},
    "kl_cov": NO_KL | {LOSS + "loss_mode": "kl_cov", LOSS + "kl_cov_ratio": 0.002, LOSS + "ppo_kl_coef": 1.0},
    "dppo_tv": NO_KL
    | {
        LOSS + "loss_mode": "dppo_tv",
        ACTOR + "clip_ratio_low": 0.15,
        ACTOR + "clip_ratio_high": 0.15,
        ACTOR + "clip_ratio_c": 20.0,
    },
    "dppo_kl": NO_KL
    | {
        LOSS + "loss_mode": "dppo_kl",
        ACTOR + "clip_ratio_low": 0.05,
        ACTOR + "clip_ratio_high": 0.05,
        ACTOR + "clip_ratio_c": 20.0,
    },
    "dro": NO_KL | {LOSS + "loss_mode": "dro", LOSS + "dro_beta": 0.05},
}


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_an_algorithm_differs_from_grpo_in_exactly_what_its_file_says(name: str) -> None:
    assert differences("grpo", name) == PLAIN[name]


def test_every_algorithm_is_one_of_the_above() -> None:
    assert set(options("algo")) == {"grpo"} | set(PLAIN) | set(VARIANTS) | set(WEIGHTED.values())


def test_an_algorithms_own_clip_wins_over_the_tasks_and_grpo_keeps_it() -> None:
    def clip(*groups: str) -> tuple[float, float, bool]:
        actor = compose(["task=knights_knaves", *groups]).actor_rollout_ref.actor
        return actor.clip_ratio_low, actor.clip_ratio_high, actor.use_kl_loss

    for algo in ("grpo", "tr_grpo"):
        assert clip(f"algo={algo}", "llm=qwen2_5_3b_instruct") == (0.2, 0.24, True)  # the task's
        assert clip(f"algo={algo}", "llm=tiny") == (0.2, 0.28, False)  # the model's
    for algo in ("gspo", "tr_gspo"):
        for llm in ("tiny", "qwen2_5_3b_instruct"):
            assert clip(f"algo={algo}", f"llm={llm}") == (3e-4, 4e-4, False)
    assert clip("algo=gspo", "actor_rollout_ref.actor.clip_ratio_low=0.1")[0] == 0.1  # the command line above all


def test_dapo_asks_our_replay_buffer_for_dynamic_sampling() -> None:
    from tr_grpo.trainer.replay_buffer import forwarded_options

    def forwarded(algo: str) -> dict[str, object]:
        return forwarded_options(compose([f"algo={algo}"]).trainer.v1.sampler.sampler_kwargs)

    assert forwarded("dapo")["filter_groups_metric"] == "acc"
    assert "filter_groups_metric" not in forwarded("grpo")


def test_grpo_is_verls_own_policy_loss() -> None:
    loss = compose(["algo=grpo"]).actor_rollout_ref.actor.policy_loss
    assert (loss._target_, loss.loss_mode) == ("tr_grpo.recipe.policy_loss.MeasuredLossConfig", "vanilla")


def test_a_part_of_a_config_is_no_option() -> None:
    assert not [name for group in GROUPS for name in options(group) if name.startswith("_")]
    with pytest.raises(InputError, match="algo=_weight: no such option"):
        compose(["algo=_weight"])


@pytest.mark.parametrize("name", options("algo"))
def test_every_algorithms_file_starts_with_what_it_is(name: str) -> None:
    lines = (CONFIG_FOLDER / "algo" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    comment = " ".join(line.lstrip("# ") for line in itertools.takewhile(lambda line: line[:1] == "#", lines[1:]))
    assert name == "grpo" or "iffers" in comment
    if not name.startswith("tr_") and name != "grpo":
        assert re.search(r"arXiv \d{4}\.\d{5}", comment)


def test_cluster_changes_how_it_runs_not_what_is_learned() -> None:
    learned = [key for key in PAPER if not key.startswith(("trainer.n", "trainer.nnodes"))]
    runs = [flat(compose([f"cluster={name}", "llm=tiny"])) for name in options("cluster")]
    for key in learned:
        assert len({str(run[key]) for run in runs}) == 1, key


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("algo=trgrpo", ["algo=trgrpo", ", grpo, gspo, ", ", tr_grpo, tr_grpo_eq9, "]),
        ("cluster=gpu", ["cpu", "gpu_1", "node_4x80gb", "node_8x80gb"]),
        ("alg=grpo", ["alg", "did you mean algo?"]),
        ("actor_rollout_ref.actor.optim.lrr=1", ["did you mean actor_rollout_ref.actor.optim.lr?"]),
        ("trainer.totl_epochs=1", ["did you mean trainer.total_epochs?"]),
        ("trainer.total_epochs=[1", ["no viable alternative"]),
        ("+trainer.total_epochs=2", ["trainer.total_epochs", "without the leading +"]),
        ("no_such.key.at_all=1", ["no_such.key.at_all: no such key"]),
    ],
)
def test_bad_overrides_are_one_line_with_the_nearest_right_one(override: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        compose([override])
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_nearest_key_knows_the_chosen_algorithm() -> None:
    with pytest.raises(InputError, match=r"did you mean actor_rollout_ref\.actor\.policy_loss\.lower\?"):
        compose(["algo=tr_grpo", "actor_rollout_ref.actor.policy_loss.lowr=1"])


def test_any_verl_key_can_be_overridden() -> None:
    config = compose(["actor_rollout_ref.rollout.top_p=0.9", "trainer.nnodes=16", "+data.my_own=3"])
    assert (config.actor_rollout_ref.rollout.top_p, config.trainer.nnodes, config.data.my_own) == (0.9, 16, 3)


def test_cpu_platform_is_asked_for_by_its_cluster_alone() -> None:
    assert environment(compose(["cluster=cpu"]))["VERL_PLATFORM"] == "cpu"
    for name in set(options("cluster")) - {"cpu"}:
        assert environment(compose([f"cluster={name}"])) == {
            "VERL_ENGINE_VENDOR": "tr_grpo",
            "TR_GRPO_WEIGHT_SYNC_S": "600",
            "VERL_USE_EXTERNAL_MODULES": "tr_grpo.trainer.plugin",
        }


def test_the_documentation_lists_every_algorithm_and_no_other() -> None:
    text = (Path(__file__).parents[3] / "docs/algorithms.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE))
    twins = set(re.findall(r"`(tr_\w+)`", text[text.index("## The weight on each of them") :]))
    assert documented | twins == set(options("algo"))


def test_our_groups_do_not_collide_with_verls() -> None:
    from tr_grpo.trainer.compose import verl_config_folder

    assert not {path.name for path in verl_config_folder().iterdir() if path.is_dir()} & set(GROUPS)
