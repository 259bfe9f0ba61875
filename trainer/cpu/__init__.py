"""The CPU platform: what verl 0.9.1 and vLLM 0.24.0 lack to run the whole loop without a GPU.

Loaded by ``cluster=cpu`` alone: it names ``tr_grpo.trainer.cpu.plugin`` in verl's ``VERL_USE_EXTERNAL_MODULES``;
unlike an entry point, whose import error verl only logs at DEBUG, a module named there stops every verl
process if it fails. Nothing here runs on a machine with a GPU unless that variable is set.
"""
