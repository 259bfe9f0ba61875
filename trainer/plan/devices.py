"""Cards: memory, arithmetic and bandwidths from their makers' data sheets."""

from collections.abc import Mapping
from dataclasses import dataclass

from tr_grpo.data_prep.errors import InputError

GB = 1e9
GIB = 1024**3


@dataclass(frozen=True)
class Card:
    """One GPU. Peaks are reported by the maker; no run reaches them (:class:`Assumptions` says what share is taken)."""

    name: str
    memory: float
    """Bytes, in the data sheet's decimal GB. The driver shows a little more (about 80 GiB for 80 GB cards): left as
    a margin for the allocator's fragmentation."""
    flops: float
    """bf16 with fp32 accumulation, dense (data sheets often print twice that, with sparsity), operations a second."""
    bandwidth: float
    """Of the card's memory, bytes a second."""
    link: float
    """To another card of the node, bytes a second in one direction: NVLink's half, or PCIe."""
    pcie: float
    """To the host, bytes a second in one direction."""
    source: str


def _card(
    name: str, memory: float, tera: float, bandwidth: float, link: float, pcie: float, source: str
) -> tuple[str, Card]:
    return name, Card(name, memory * GB, tera * 1e12, bandwidth * GB, link * GB, pcie * GB, source)


CARDS: Mapping[str, Card] = dict(
    (
        _card("RTX4090", 24, 165.2, 1008, 32, 32, "NVIDIA Ada GPU architecture white paper, appendix A"),
        _card("A6000", 48, 154.8, 768, 32, 32, "NVIDIA RTX A6000 data sheet; GA102 white paper"),
        _card("L40S", 48, 362.05, 864, 32, 32, "NVIDIA L40S data sheet"),
        _card("A100", 80, 312, 2039, 300, 32, "NVIDIA A100 80GB data sheet, SXM"),
        _card("H100", 80, 989.4, 3350, 450, 64, "NVIDIA H100 data sheet, SXM; dense is half of the printed number"),
        _card("H200", 141, 989.4, 4800, 450, 64, "NVIDIA H200 data sheet, SXM; dense is half of the printed number"),
    )
)
DEFAULT = "H100"
"""The ``cluster`` presets name a size of memory (80 GB), not a card; this one is assumed."""


def card(name: str) -> Card:
    """The card of that name, in any case.

    Raises:
        InputError: an unknown name.
    """
    known = {key.lower(): value for key, value in CARDS.items()}
    if name.lower() not in known:
        raise InputError(f"--card {name}: unknown; choose one of {', '.join(CARDS)}")
    return known[name.lower()]
