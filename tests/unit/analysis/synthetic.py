"""Run folders made by rule, of any length: what verl's logger and this package write, without a run.

The curves have the shape of a healthy run: reward and accuracy rise and level off, entropy falls slowly, everything
else wavers. Nothing here is a measurement.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tr_grpo.recipe.token_ledger import BUCKETS
from tr_grpo.recipe.token_record import SCHEMA, file_name
from tr_grpo.reward.verdict import Verdict

TOKENS_SHARE = np.array([0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.14, 0.6])
ACCURACY = "val-core/knights_knaves/acc/mean@1"
Metrics = dict[str, float]
Config = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """What to make; ``change`` edits a step's metrics, ``settings`` the config."""

    algo: str = "grpo"
    seed: int = 0
    steps: int = 40
    test_every: int = 5
    updates: int = 2
    responses: int = 4
    """Recorded an update; 0 records none."""
    record_every: int = 1
    tokens: int = 30
    """In a response."""
    layout: int = 1
    change: Callable[[int, Metrics], Metrics] | None = None
    settings: Mapping[str, Any] | None = None


def make_run(folder: Path, made: Made | None = None) -> Path:
    """Write a run folder and return it."""
    made = made or Made()
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config(folder, made)))
    noise = np.random.default_rng([made.seed, made.algo == "grpo"])
    lines = []
    for step in range(made.steps + 1):
        metrics = step_metrics(made, step, noise)
        if made.change is not None:
            metrics = made.change(step, metrics)
        lines.append(json.dumps({"step": step, "data": metrics}) + "\n")
    (folder / "metrics-000.jsonl").write_text("".join(lines))
    if made.layout:
        (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events(made)))
        for step in range(1, made.steps + 1, made.record_every):
            for update in range(made.updates):
                write_responses(folder, step, update, [response(made, step, update, i) for i in range(made.responses)])
    return folder


def write_responses(folder: Path, step: int, update: int, rows: list[dict[str, Any]]) -> None:
    """One file of recorded responses, as ``recipe/token_record.py`` writes it; nothing for no rows."""
    if rows:
        (folder / "rollouts").mkdir(exist_ok=True)
        columns = {name: [row[name] for row in rows] for name in SCHEMA.names}
        pq.write_table(pa.table(columns, schema=SCHEMA), folder / "rollouts" / file_name(step, update))


def config(folder: Path, made: Made) -> Config:
    """The part of a resolved config that is read."""
    loss: Config = {"loss_mode": "vanilla", "diagnostics": True}
    if made.algo != "grpo":
        weight = {"shape": "sigmoid", "alpha": 2.0, "tau": 9.0, "mu": 0.25, "lower": 1.0, "upper": 1.4}
        loss = {"loss_mode": "tr_grpo", "diagnostics": True, "base_loss": "vanilla", **weight}
    tree: Config = {
        "group": {"task": "knights_knaves", "llm": "tiny", "algo": made.algo, "cluster": "cpu", "track": "console"},
        "algorithm": {"adv_estimator": "grpo"},
        "data": {"seed": made.seed, "train_batch_size": 8, "train_files": ["data/train.parquet"]},
        "actor_rollout_ref": {
            "actor": {"policy_loss": loss, "optim": {"lr": 1e-4}, "ppo_mini_batch_size": 8 // made.updates},
            "rollout": {"n": 4, "temperature": 1.0},
            "model": {"path": "models/tiny"},
        },
        "trainer": {"total_training_steps": made.steps, "default_local_dir": str(folder), "device": "cpu"},
    }
    for key, value in (made.settings or {}).items():
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def events(made: Made) -> list[dict[str, Any]]:
    """One start and its end."""
    start = {
        "time": 1.75e9,
        "event": "start",
        "layout": made.layout,
        "start": 0,
        "steps": made.steps,
        "overrides": [f"algo={made.algo}", "task=knights_knaves", "llm=tiny", "cluster=cpu"],
        "code": {"commit": "0" * 40, "changed": False},
        "versions": {"tr-grpo": "0.1.0", "verl": "0.9.1", "torch": "2.11.0", "python": "3.11.7"},
        "machine": {"host": "example", "system": "Linux", "cores": 2, "memory_gb": 24.0, "gpus": []},
        "pid": 2**22 + 1,  # above the kernel's largest
        "findings": [{"code": "TR404", "severity": "warning", "message": "a message", "fix": "a fix"}],
        "ledger": {
            **{"prompts": 8, "responses_per_prompt": 4, "mini_batch_prompts": 8 // made.updates},
            **{"epochs_per_batch": 1, "devices": 1, "micro_batch_per_device": None, "micro_batch_tokens": 2048},
            **{"prompt_limit": 128, "response_limit": 136},
            **{"responses": 32, "updates": made.updates, "tokens": 8448},
        },
    }
    end = {"time": 1.75e9 + 2 * made.steps, "event": "end", "start": 0, "status": "done", "message": ""}
    return [start, end]


def step_metrics(made: Made, step: int, noise: np.random.Generator) -> Metrics:
    """Metrics of one step, under the keys of a real run; step 0 is the validation before training."""
    skill = 0.25 + 0.45 * (1 - np.exp(-step / max(made.steps / 3, 1)))
    metrics: Metrics = {}
    if step % made.test_every == 0 or step == made.steps:
        metrics[ACCURACY] = float(np.clip(skill + noise.normal(0, 0.03), 0, 1))
    if step == 0:
        return metrics
    right = float(np.clip(skill + noise.normal(0, 0.05), 0.02, 0.93))
    norm = float(0.8 * np.exp(noise.normal(0, 0.2)))
    mass_before = TOKENS_SHARE * np.linspace(1.0, 0.05, 8) * np.exp(noise.normal(0, 0.1, 8))
    mass_before /= mass_before.sum()
    w = np.ones(8) if made.algo == "grpo" else np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.35, 1.4, 1.4])
    mass = mass_before * w / (mass_before * w).sum()
    probability_gap = float(1e-4 * np.exp(noise.normal(0, 0.3)))
    metrics |= {
        "critic/score/mean": right * 1.1,
        "critic/rewards/mean": right * 1.1,
        "critic/advantages/max": 1.5,
        "critic/advantages/min": -1.5,
        "reward/acc": right,
        "reward/format_ok": 0.97,
        "reward/unscored_share": 0.0,
        "reward/overlong": 0.02,
        "reward/groups_without_signal": float(np.clip(noise.normal(0.25, 0.05), 0, 0.5)),
        **{f"reward/verdict_{verdict}": 0.0 for verdict in Verdict},
        "reward/verdict_right": right,
        "reward/verdict_wrong": 0.95 - right,
        "reward/verdict_malformed": 0.03,
        "reward/verdict_truncated": 0.02,
        "response_length/mean": float(40 + 10 * skill + noise.normal(0, 1)),
        "response_length/max": 100.0,
        "response_length/clip_ratio": 0.02,
        "actor/entropy": float(0.5 * np.exp(-0.3 * step / made.steps) + noise.normal(0, 0.01)),
        "actor/grad_norm": norm,
        "actor/update/grad_norm_max": norm * 1.2,
        "actor/update/grad_norm_p95": norm * 1.15,
        "actor/update/grad_norm_variation": 0.2,
        "actor/update/skipped": 0.0,
        "actor/lr": 1e-4,
        "actor/pg_loss": float(noise.normal(0, 0.01)),
        "actor/pg_clipfrac": float(0.01 * np.exp(noise.normal(0, 0.3))) if made.updates > 1 else 0.0,
        "actor/pg_clipfrac_lower": 0.0,
        "actor/ppo_kl": float(2e-4 * np.exp(noise.normal(0, 0.5))),
        "actor/tr/weight_mean": float((TOKENS_SHARE * w).sum()),
        "actor/tr/share_at_lower": 1.0 if made.algo == "grpo" else 0.2,
        "actor/tr/share_in_ramp": 0.0 if made.algo == "grpo" else 0.1,
        "actor/tr/share_at_upper": 0.0 if made.algo == "grpo" else 0.7,
        "actor/tr/informative": float(made.algo != "grpo"),
        "actor/tr/effective_tokens": 150.0,
        "actor/tr/effective_tokens_before": 140.0,
        "actor/tr/share_without_gradient": 0.01,
        "training/rollout_probs_diff_max": 20 * probability_gap,
        "training/rollout_probs_diff_mean": probability_gap,
        "training/rollout_actor_probs_pearson_corr": 0.9999,
        "rollout_corr/kl": float(noise.normal(1e-6, 1e-7)),
        "timing_s/step": float(2.0 * np.exp(noise.normal(0, 0.05))),
        "timing_s/gen": 0.8,
        "timing_s/update_actor": 0.9,
        "perf/throughput": float(600 * np.exp(noise.normal(0, 0.05))),
        "perf/total_num_tokens": 3000.0,
        "actor/perf/max_memory_allocated_gb": 1.2,
        "actor/perf/cpu_memory_used_gb": 8.0,
        "training/global_step": float(step),
        "training/epoch": 0.0,
    }
    for name, share, before, after, weight in zip(BUCKETS, TOKENS_SHARE, mass_before, mass, w, strict=True):
        metrics |= {
            f"actor/tr_tokens/{name}": float(share),
            f"actor/tr_weight/{name}": float(weight),
            f"actor/tr_mass/{name}": float(after),
            f"actor/tr_mass_before/{name}": float(before),
            f"actor/tr_mass_negative/{name}": float(after / 2),
            f"actor/tr_mass_positive/{name}": float(after / 2),
        }
    return metrics


def response(made: Made, step: int, update: int, number: int, tokens: list[str] | None = None) -> dict[str, Any]:
    """One row of a file of recorded responses; every fifth has an observation in its middle third."""
    noise = np.random.default_rng([made.seed, step, update, number])
    words = tokens or [f" word{i}" for i in range(made.tokens)]
    count = len(words)
    right = bool(noise.random() < 0.5)
    log_prob = np.log(np.clip(noise.beta(2.0, 0.6, count), 1e-5, 1 - 1e-5))
    advantage = 0.8 if right else -0.8
    pi = np.exp(log_prob)
    w = np.ones(count) if made.algo == "grpo" else np.clip(2 / (1 + np.exp(-9 * (pi - 0.25))), 1.0, 1.4)
    mask = [not (number % 5 == 4 and count // 3 <= i < 2 * count // 3) for i in range(count)]
    gradient = -advantage * w / 1000 * mask
    mass = np.abs(gradient) * (1 - pi)
    return {
        "step": step,
        "update": update,
        "uid": f"prompt-{step}-{number // 4}",
        "session": number % 4,
        "data_source": "knights_knaves",
        "prompt": "<|im_start|>user\nWho is a knight?<|im_end|>\n<|im_start|>assistant\n",
        "ground_truth": "(1) Zoey is a knight",
        "verdict": "right" if right else "wrong",
        "score": 1.1 if right else 0.1,
        "update_mass": float(mass.sum() * 8),
        "update_mass_before": float((mass / w).sum() * 8),
        "ids": list(range(count)),
        "tokens": words,
        "mask": mask,
        "log_prob": log_prob.tolist(),
        "old_log_prob": (log_prob + noise.normal(0, 0.01, count)).tolist(),
        "rollout_log_prob": (log_prob + noise.normal(0, 1e-4, count)).tolist(),
        "advantage": [advantage] * count,
        "weight": w.tolist(),
        "gradient": gradient.tolist(),
    }
