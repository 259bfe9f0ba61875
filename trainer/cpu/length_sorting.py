"""Micro-batches of like lengths: on a CPU verl pads each to its longest sequence.

verl cuts micro-batches so that each has the same workload (Karmarkar-Karp), which mixes lengths. Without the
padding-free path, which needs flash attention, a mixed micro-batch is mostly padding. Cut from the sequences
in order of length instead, the workloads stay alike and the padding goes. Loss and gradient are sums over
the whole mini-batch, so they do not depend on the cut (up to the order of additions).
"""

from collections.abc import Callable, Sequence
from types import ModuleType

import wrapt

from tr_grpo.trainer.seam import replace

BALANCING_MODULE = "verl.utils.seqlen_balancing"


def sorted_partitions(workloads: Sequence[float], parts: int) -> list[list[int]]:
    """Cut the items, in order of workload, into ``parts`` runs of about equal total.

    Args:
        workloads: cost of each sequence, any unit that grows with its length.
        parts: number of micro-batches, at most ``len(workloads)``.

    Returns:
        ``parts`` lists of indices, none empty, each sorted; together every index once.

    Raises:
        ValueError: more parts than items.
    """
    if parts > len(workloads):
        raise ValueError(f"{len(workloads)} sequences cannot make {parts} micro-batches")
    order = sorted(range(len(workloads)), key=lambda index: workloads[index])
    share = sum(workloads) / parts
    partitions: list[list[int]] = [[]]
    running = 0.0
    for position, index in enumerate(order):
        partitions[-1].append(index)
        running += workloads[index]
        items_left, parts_left = len(order) - position - 1, parts - len(partitions)
        if parts_left and (items_left == parts_left or running >= share * len(partitions)):
            partitions.append([])
    return [sorted(partition) for partition in partitions]


def install(module: ModuleType) -> None:
    """Wrap ``get_seqlen_balanced_partitions``; the balance across ranks (``equal_size``) stays verl's."""

    def sorting(original: Callable) -> Callable:
        def get_seqlen_balanced_partitions(
            seqlen_list: list[int], k_partitions: int, equal_size: bool
        ) -> list[list[int]]:
            if equal_size:
                return original(seqlen_list, k_partitions, equal_size)
            return sorted_partitions(seqlen_list, k_partitions)

        return get_seqlen_balanced_partitions

    replace(module, "get_seqlen_balanced_partitions", sorting)


def install_on_import() -> None:
    """Install once verl imports the module."""
    wrapt.register_post_import_hook(install, BALANCING_MODULE)
