"""``tr-grpo evaluate``: any model or checkpoint on a task's sets, through the training's own rollouts and scorer.

checkpoint.py: what MODEL means. settings.py: the config and the record of an evaluation. problems.py: the data.
generate.py, judge.py: one sample, as training makes and judges it. samples.py: the parts on disk. worker.py: one
process; workers.py: all of them. table.py, render.py, paper.py: what the samples come to. command.py: the command.
"""
