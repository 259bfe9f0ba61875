"""Installs, in this process, what every training run changes in verl; imported by verl at the end of ``import verl``.

Named in ``VERL_USE_EXTERNAL_MODULES`` (recipe/config/train.yaml), so it reaches each of Ray's workers and each vLLM
engine. ``cluster=cpu`` adds the CPU platform (trainer/cpu/plugin.py).
"""

from tr_grpo.trainer import run_name, seeded_rollouts, weight_sync
from tr_grpo.trainer.checkpoints import v0

run_name.name_segments()
weight_sync.install_on_import()
v0.install_on_import()
seeded_rollouts.install_on_import()
