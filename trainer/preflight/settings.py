"""TR442: verl's own check of the config, which otherwise speaks after the run folder was made."""

import contextlib
import io
import warnings
from collections.abc import Iterator

from omegaconf import DictConfig

from tr_grpo.trainer.preflight.finding import Finding, error, one_line


def check(config: DictConfig) -> Iterator[Finding]:
    """``validate_config`` of verl, whose prints wait until the run itself calls it."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "Disabled critic": so it is meant with GRPO
            validate_config(config, need_reference_policy(config), need_critic(config))
    except (AssertionError, ValueError) as problem:
        yield error("TR442", f"verl refuses the config: {one_line(problem)}", "correct the key that it names")
