"""Every number of a plan that is neither in the config nor on a data sheet, with its reason. All can be set."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from tr_grpo.data_prep.errors import InputError

MOST_SIGMA = 4.0
"""Of ``length_sigma``: beyond, the mean of a log-normal is its rarest values alone."""


def _assumed(value: float, why: str) -> float:
    number: float = field(default=value, metadata={"why": why})
    return number


@dataclass(frozen=True)
class Assumptions:
    """Assumed, not measured; ``--assume name=value`` sets one."""

    train_mfu: float = _assumed(0.35, "share of the peak in forward and backward passes; 0.3 to 0.5 is usual on FSDP")
    prefill_mfu: float = _assumed(0.5, "share of the peak while vLLM reads prompts")
    decode_efficiency: float = _assumed(0.6, "share of the memory bandwidth, and of the peak, while vLLM writes")
    decode_overhead_s: float = _assumed(0.004, "seconds of scheduling and launching a decoding step, whatever its size")
    link_efficiency: float = _assumed(
        0.7, "share of NVLink's, PCIe's and the network's bandwidth that collectives reach"
    )
    network_gb_s: float = _assumed(50.0, "GB/s a GPU between nodes, one direction: a 400 Gb/s adapter each")
    hop_s: float = _assumed(1.5e-5, "seconds of latency a rank in a ring collective")
    mean_response: float = _assumed(0.35, "mean response, as a share of data.max_response_length")
    mean_prompt: float = _assumed(0.5, "mean prompt, as a share of data.max_prompt_length")
    length_sigma: float = _assumed(0.7, "σ of the log-normal response lengths; they are cut at the limit")
    reward_s: float = _assumed(0.01, "seconds a process judges one response")
    reward_processes: float = _assumed(8.0, "processes a node that judge at the same time")
    driver_s: float = _assumed(0.001, "seconds of the one driver's Python for each response")
    driver_gb_s: float = _assumed(1.0, "GB/s through the driver and the transfer queue")
    step_overhead_s: float = _assumed(3.0, "seconds a step of scheduling, sleep and wake-up, whatever its size")
    context_gib: float = _assumed(2.0, "GiB of CUDA context, NCCL buffers and libraries of the training process")
    asleep_gib: float = _assumed(1.5, "GiB that vLLM keeps while it sleeps: context, CUDA graphs, NCCL")
    vllm_workspace_gib: float = _assumed(2.0, "GiB of vLLM's share for its activations and CUDA graphs")

    def __post_init__(self) -> None:
        for name, value, _ in self.rows():
            if not 0 < value < float("inf"):
                raise InputError(f"--assume {name}={value}: must be above 0")
        for name in (
            "train_mfu",
            "prefill_mfu",
            "decode_efficiency",
            "link_efficiency",
            "mean_response",
            "mean_prompt",
        ):
            if getattr(self, name) > 1:
                raise InputError(f"--assume {name}={getattr(self, name)}: a share is at most 1")

        if self.length_sigma > MOST_SIGMA:
            raise InputError(f"--assume length_sigma={self.length_sigma}: must be at most {MOST_SIGMA:g}")

    def rows(self) -> list[tuple[str, float, str]]:
        """Name, value and reason of each."""
        return [(each.name, getattr(self, each.name), each.metadata["why"]) for each in fields(self)]

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Assumptions":
        """From ``name=value`` words.

        Raises:
            InputError: an unknown name, or no number.
        """
        known = [each.name for each in fields(cls)]
        words: dict[str, float] = {}
        for text in texts:
            name, _, value = text.partition("=")
            if name not in known:
                raise InputError(f"--assume {text}: unknown; choose one of {', '.join(known)}")
            try:
                words[name] = float(value)
            except ValueError as problem:
                raise InputError(f"--assume {text}: {value!r} is no number") from problem
        return cls(**words)
