"""Hydra groups: every combination composes, the paper's preset is the paper's, errors help."""

import pytest
from omegaconf import DictConfig, OmegaConf

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.compose import GROUPS, compose, environment, options


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


@pytest.mark.parametrize("algo", options("algo"))
@pytest.mark.parametrize(
    ("llm", "path"), [("qwen2_5_3b_instruct", "3B-Instruct"), ("qwen2_5_7b_instruct_1m", "7B-Instruct-1M")]
)
def test_paper_preset_matches_its_table_key_by_key(algo: str, llm: str, path: str) -> None:
    config = compose([f"algo={algo}", "task=knights_knaves", f"llm={llm}", "cluster=node_4x80gb"])
    expected = PAPER | {"actor_rollout_ref.model.path": f"Qwen/Qwen2.5-{path}"}
    found = flat(config)
    assert {key: found[key] for key in expected} == expected


def test_algorithms_differ_in_the_method_alone() -> None:
    grpo, tr_grpo = flat(compose(["algo=grpo"])), flat(compose(["algo=tr_grpo"]))
    different = {key for key in grpo.keys() | tr_grpo.keys() if grpo.get(key) != tr_grpo.get(key)}
    named_after_the_run = {
        "group.algo",
        "trainer.experiment_name",
        "trainer.default_local_dir",
        "reward.reward_kwargs.error_folder",
        "actor_rollout_ref.rollout.trace.experiment_name",
    }
    method = {key for key in different if key.startswith("actor_rollout_ref.actor.policy_loss.")}
    assert different <= method | named_after_the_run
    assert method == {
        f"actor_rollout_ref.actor.policy_loss.{key}"
        for key in ("_target_", "loss_mode", "base_loss", "alpha", "tau", "mu", "lower", "upper")
    }


def test_grpo_is_verls_own_policy_loss() -> None:
    loss = compose(["algo=grpo"]).actor_rollout_ref.actor.policy_loss
    assert (loss._target_, loss.loss_mode) == ("verl.workers.config.PolicyLossConfig", "vanilla")


def test_cluster_changes_how_it_runs_not_what_is_learned() -> None:
    learned = [key for key in PAPER if not key.startswith(("trainer.n", "trainer.nnodes"))]
    runs = [flat(compose([f"cluster={name}", "llm=tiny"])) for name in options("cluster")]
    for key in learned:
        assert len({str(run[key]) for run in runs}) == 1, key


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("algo=trgrpo", ["algo=trgrpo", "grpo, tr_grpo"]),
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
        assert environment(compose([f"cluster={name}"])) == {}


def test_our_groups_do_not_collide_with_verls() -> None:
    from tr_grpo.trainer.compose import verl_config_folder

    assert not {path.name for path in verl_config_folder().iterdir() if path.is_dir()} & set(GROUPS)
