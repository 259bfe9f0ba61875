"""Responses as training makes them: verl's agent loops, with one vLLM engine of this process in place of Ray's servers.

The loops (single turn, search in tags, search as a tool) are those that training runs, and so are tokenizer, chat
template and limits. Only the random numbers differ: each request has a seed of its own, so a sample does not depend on
the others.
"""

from __future__ import annotations

import copy
from typing import Any

from omegaconf import DictConfig
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, AgentLoopWorker
from verl.workers.rollout.replica import TokenOutput
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs import TokensPrompt
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from tr_grpo.analysis.evaluate.problems import Problem
from tr_grpo.analysis.evaluate.settings import Sampling, seed_of
from tr_grpo.data_prep.errors import InputError


class Rollouts(AgentLoopWorker):
    """verl's agent loop worker, without the padding of a training batch."""

    def __init__(self, config: DictConfig, sampling: Sampling) -> None:
        self.limit = int(config.actor_rollout_ref.rollout.prompt_length)
        self.server_config = config
        # A loop cuts a prompt beyond its limit at the beginning, and says so in a log; here it is to be refused.
        uncut = copy.deepcopy(config)
        uncut.actor_rollout_ref.rollout.prompt_length = self.limit + sampling.max_tokens
        super().__init__(uncut, None)
        self.sampling = sampling

    def start(self) -> None:
        """Start vLLM; takes from seconds to minutes."""
        self.llm_client = LocalServer(self.server_config)

    async def respond(self, problem: Problem, number: int, greedy: bool) -> AgentLoopOutput:
        """One response to ``problem``: the ``number``-th sample, or the greedy one."""
        plan = self.sampling
        if greedy:
            params: dict[str, Any] = {"temperature": 0.0, "top_p": 1.0, "top_k": -1}
        else:
            params = {"temperature": plan.temperature, "top_p": plan.top_p, "top_k": plan.top_k}
            params["seed"] = seed_of(plan.seed, problem.id, number)
        row = {name: value for name, value in problem.row.items() if name not in ("prompt", "agent_name")}
        output: AgentLoopOutput = await self._run_agent_loop(
            params | {"repetition_penalty": 1.0, "logprobs": False},
            {"step": -1, "sample_index": number, "rollout_n": number, "validate": True},
            agent_name=problem.agent or self.rollout_config.agent.default_agent_loop,
            trace=False,
            raw_prompt=problem.messages,
            **row,
        )
        self.refuse_longer(problem, len(output.prompt_ids))
        return output

    def refuse_longer(self, problem: Problem, prompt_tokens: int) -> None:
        """InputError where a prompt exceeds the limit: verl would cut it, or leave the problem out."""
        if prompt_tokens > self.limit:
            index = (problem.row.get("extra_info") or {}).get("index")
            raise InputError(
                f"{problem.data_source}: the prompt of row {index} has {prompt_tokens} tokens, more than {self.limit}; "
                f"set data.max_prompt_length={prompt_tokens} or more"
            )

    async def _agent_loop_postprocess(self, output: Any, validate: bool, **kwargs: Any) -> Any:
        return output

    async def prompt_tokens(self, problem: Problem) -> int:
        """Length of the prompt, as far as it is known before a loop has run: a tool loop's has its tools too."""
        rendered = self.tokenizer.apply_chat_template(
            problem.messages,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **self.config.data.apply_chat_template_kwargs,
        )
        return len(rendered["input_ids"])


class LocalServer:
    """What an agent loop takes for verl's server: tokens in, tokens out."""

    def __init__(self, config: DictConfig) -> None:
        rollout = config.actor_rollout_ref.rollout
        self.prompt_length = int(rollout.prompt_length)
        self.response_length = int(rollout.response_length)
        self.max_model_len = int(rollout.max_model_len or self.prompt_length + self.response_length)
        extra = {name: value for name, value in (rollout.engine_kwargs.get("vllm") or {}).items() if value is not None}
        self.engine = AsyncLLM.from_engine_args(
            AsyncEngineArgs(
                model=config.actor_rollout_ref.model.path,
                dtype=rollout.dtype,
                trust_remote_code=config.actor_rollout_ref.model.trust_remote_code,
                max_model_len=self.max_model_len,
                max_num_seqs=rollout.max_num_seqs,
                max_num_batched_tokens=max(int(rollout.max_num_batched_tokens), self.max_model_len),
                # On a CPU vLLM 0.24.0 cannot cut a prompt whose request has a seed (torch's generator has no offset).
                enable_chunked_prefill=rollout.enable_chunked_prefill and config.trainer.device != "cpu",
                enable_prefix_caching=rollout.enable_prefix_caching,
                enforce_eager=rollout.enforce_eager,
                gpu_memory_utilization=rollout.gpu_memory_utilization,
                tensor_parallel_size=rollout.tensor_model_parallel_size,
                disable_log_stats=True,
                **extra,
            )
        )
        self._requests = 0

    async def generate(
        self,
        request_id: str,
        *,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        **others: Any,
    ) -> TokenOutput:
        """Continue ``prompt_ids``, with verl's limits on the response's length."""
        params = dict(sampling_params)
        room = min(self.response_length, self.prompt_length + self.response_length - len(prompt_ids))
        most = max(1, min(params.pop("max_tokens", room), self.max_model_len - len(prompt_ids)))
        params.pop("logprobs", None)
        if "seed" in params:
            # The turns of a trajectory differ in their prompts, which grow, so each has random numbers of its own.
            params["seed"] = seed_of(params["seed"], len(prompt_ids))
        self._requests += 1
        results = [
            result
            async for result in self.engine.generate(
                TokensPrompt(prompt_token_ids=prompt_ids),
                SamplingParams(max_tokens=most, output_kind=RequestOutputKind.FINAL_ONLY, **params),
                # A loop uses one id for all turns of a trajectory; the engine wants one a request.
                f"{request_id}-{self._requests}",
            )
        ]
        if not results or not results[-1].outputs:
            raise RuntimeError("vLLM ended a request without an output")
        return TokenOutput(token_ids=list(results[-1].outputs[0].token_ids), stop_reason="completed")

    def close(self) -> None:
        """Stop the engine's process."""
        self.engine.shutdown()
