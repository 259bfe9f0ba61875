"""``tr-grpo plan``: memory, time and settings of a run on paper, before any GPU is held. Estimates, no measurements."""
