"""Installs every part of the CPU platform in this process; imported by verl at the end of ``import verl``.

Order does not matter: each part replaces one seam that verl or vLLM reads later.
"""

from tr_grpo.trainer.cpu import (
    all_to_all,
    kept_weights,
    length_sorting,
    packed_attention,
    platform,
    process_group,
    vllm_version,
    weight_transfer,
)

platform.register()
process_group.install()
vllm_version.install()
weight_transfer.install_on_import()
length_sorting.install_on_import()
packed_attention.install_on_import()
all_to_all.install_on_import()
kept_weights.install_on_import()
