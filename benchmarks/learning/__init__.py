"""Does TR-GRPO learn better than GRPO? A paired comparison on the talkative tiny model: docs/results/learning.md.

One process and one thread: the loss is the recipe's (or verl's own), the advantages are verl's, generation is a
loop over transformers' key-value cache. It replaces Ray, vLLM and FSDP, which decide how fast a step is, not what
it does, so that a run takes a minute and a comparison can have seeds.
"""
