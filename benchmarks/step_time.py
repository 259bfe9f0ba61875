"""Start-up and steady step against bare verl, on the CPU, in the same session.

    .venv/bin/python benchmarks/step_time.py [--runs 3] [--steps 6]

*Bare* is ``python -m verl.trainer.main_ppo`` with our CPU platform (without it there is no run), the same
model, data, batch, precision and attention, and verl's defaults for all that does not change what is
learned. *Ours* is ``tr-grpo train``. Both are GRPO with verl's own loss, so only how it is run differs.
Runs are interleaved; the table gives medians. Memory is the largest sum of proportional set sizes (PSS) of
all processes of a run, sampled every second.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tr_grpo.analysis.quickstart import PUZZLES
from tr_grpo.data_prep.knights_knaves import DatasetConfig, build_dataset
from tr_grpo.data_prep.tiny_model.files import copy_shipped
from tr_grpo.trainer import processes

LIMIT = 900.0  # seconds a run may take

# What bare verl needs to run at all without a GPU (docs/cpu.md), and the same numerics as ours.
BARE_OVERRIDES = """
trainer.device=cpu trainer.n_gpus_per_node=1 trainer.nnodes=1 +ray_kwargs.ray_init.num_gpus=1
ray_kwargs.ray_init.num_cpus=32 +ray_kwargs.ray_init.address=local actor_rollout_ref.rollout.name=vllm
actor_rollout_ref.rollout.tensor_model_parallel_size=1 actor_rollout_ref.actor.strategy=fsdp2
actor_rollout_ref.model.use_remove_padding=false
+actor_rollout_ref.model.override_config.attn_implementation=sdpa
actor_rollout_ref.rollout.free_cache_engine=false +actor_rollout_ref.rollout.enable_sleep_mode=false
actor_rollout_ref.rollout.dtype=float32 actor_rollout_ref.rollout.gpu_memory_utilization=0.2
+actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32
+actor_rollout_ref.actor.fsdp_config.mixed_precision.reduce_dtype=fp32
+actor_rollout_ref.actor.fsdp_config.mixed_precision.buffer_dtype=fp32
actor_rollout_ref.actor.use_dynamic_bsz=true actor_rollout_ref.actor.ppo_max_token_len_per_gpu=16384
algorithm.adv_estimator=grpo actor_rollout_ref.actor.use_kl_loss=false
actor_rollout_ref.actor.clip_ratio_high=0.28 actor_rollout_ref.actor.clip_ratio_c=10.0
actor_rollout_ref.actor.optim.lr=1e-4 actor_rollout_ref.model.enable_gradient_checkpointing=false
actor_rollout_ref.rollout.n=8
actor_rollout_ref.rollout.temperature=1.0 data.max_prompt_length=128
data.max_response_length=136 data.seed=1 trainer.logger=[console,file] trainer.save_freq=-1
"""
BARE_ENVIRONMENT = {
    "VERL_PLATFORM": "cpu",
    "VERL_ENGINE_DEVICE": "cuda",
    "VERL_USE_EXTERNAL_MODULES": "tr_grpo.trainer.cpu.plugin",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


@dataclass(frozen=True)
class Measurement:
    """One run, in seconds and GiB."""

    start_up: float
    """From the command to the end of the first step."""
    step: float
    """Median time between the ends of later steps."""
    memory: float


def measure(command: list[str], environment: dict[str, str], metrics: Path, steps: int, log: Path) -> Measurement:
    """Run ``command`` until it has logged ``steps`` steps.

    Raises:
        RuntimeError: it failed or took longer than ``LIMIT``; the message names its log.
    """
    started = time.monotonic()
    ends: list[float] = []
    peak = sampled = 0.0
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        while process.poll() is None and time.monotonic() - started < LIMIT:
            if len(ends) < (logged := _steps(metrics)):
                ends += [time.monotonic() - started] * (logged - len(ends))
            if time.monotonic() - sampled > 1.0:
                peak, sampled = max(peak, _memory(process.pid)), time.monotonic()
            time.sleep(0.02)
    processes.stop_descendants()
    if process.returncode != 0 or len(ends) < steps:
        raise RuntimeError(f"{command[2]} ended with {process.returncode} after {len(ends)} steps; see {log}")
    gaps = [after - before for before, after in itertools.pairwise(ends)]
    return Measurement(ends[0], statistics.median(gaps), peak)


def _steps(metrics: Path) -> int:
    if not metrics.exists():
        return 0
    return sum(1 for line in metrics.read_bytes().split(b"\n")[:-1] if json.loads(line)["step"] > 0)


def _memory(pid: int) -> float:
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for process in family:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue  # ended while it was counted
    return total / 1024**3


def main() -> None:
    """Measure both, interleaved, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", choices=("bare", "ours"))
    arguments = parser.parse_args()
    processes.adopt_orphans()
    console = Console()
    results: dict[str, list[Measurement]] = {"bare": [], "ours": []}
    folder = Path(tempfile.mkdtemp(prefix="step_time-"))
    build_dataset(DatasetConfig(folder / "data", (3,), 400, 8, 0, PUZZLES))
    copy_shipped(folder / "model")
    shared = [
        f"data.train_files={folder}/data/train.parquet",
        f"data.val_files={folder}/data/test.parquet",
        f"actor_rollout_ref.model.path={folder}/model",
        "data.train_batch_size=16",
        "actor_rollout_ref.actor.ppo_mini_batch_size=8",
        f"trainer.total_training_steps={arguments.steps}",
        "trainer.val_before_train=false",
        "trainer.test_freq=-1",
    ]
    for number in range(arguments.runs):
        for name in results if arguments.only is None else [arguments.only]:
            out = folder / f"{name}-{number}"
            out.mkdir()
            if name == "bare":
                metrics = out / "metrics.jsonl"
                reward = f"reward.custom_reward_function.path={Path(__file__).with_name('bare_reward.py')}"
                command = [sys.executable, "-m", "verl.trainer.main_ppo", *BARE_OVERRIDES.split(), reward, *shared]
                command.append(f"trainer.default_local_dir={out}")
                environment = BARE_ENVIRONMENT | {"VERL_FILE_LOGGER_PATH": str(metrics)}
            else:
                metrics = out / "metrics-000.jsonl"
                command = [sys.executable, "-m", "tr_grpo.trainer.main", "algo=grpo", "trainer.save_freq=-1", *shared]
                command.append(f"trainer.default_local_dir={out}")
                environment = {}
            result = measure(command, environment, metrics, arguments.steps, folder / f"{name}-{number}.log")
            results[name].append(result)
            console.print(f"{name} {number}: {result}")
    _print(results, console)


def _print(results: dict[str, list[Measurement]], console: Console) -> None:
    table = Table("", "start-up and first step, s", "steady step, s", "peak memory of all processes, GiB")
    medians: dict[str, list[float]] = {}
    for name, runs in results.items():
        if runs:
            columns = ([getattr(run, key) for run in runs] for key in ("start_up", "step", "memory"))
            spans = [(statistics.median(values), min(values), max(values)) for values in columns]
            medians[name] = [middle for middle, _, _ in spans]
            table.add_row(name, *(f"{middle:.1f} ({low:.1f} to {high:.1f})" for middle, low, high in spans))
    if len(medians) == 2:
        ratios = [ours / bare for bare, ours in zip(medians["bare"], medians["ours"], strict=True)]
        table.add_row("ours / bare", *(f"{ratio:.2f}" for ratio in ratios))
    console.print(table)


if __name__ == "__main__":
    main()
