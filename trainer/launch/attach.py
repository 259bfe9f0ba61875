"""What joining a Ray that runs asks of a config: the overrides, in one place for all launchers."""

RAY_INIT = "ray_kwargs.ray_init"
REFUSED = (
    "num_cpus",
    "num_gpus",
    "resources",
    "labels",
    "object_store_memory",
    "_system_config",
    "_node_name",
)
"""Arguments of ``ray.init`` that Ray 2.60 refuses with an address: they are the cluster's own (``ray start``)."""


def overrides(nodes: int, devices: int) -> list[str]:
    """Hydra overrides that make ``tr-grpo train`` join the Ray of ``RAY_ADDRESS`` instead of starting its own.

    Args:
        nodes: nodes of the cluster.
        devices: GPUs, or logical slots, of each node.

    Returns:
        To be given last. ``++`` sets a key whether the cluster preset has it or not.
    """
    return [
        f"trainer.nnodes={nodes}",
        f"trainer.n_gpus_per_node={devices}",
        f"++{RAY_INIT}.address=auto",
        *(f"++{RAY_INIT}.{key}=null" for key in REFUSED),
    ]
