"""A model of 0.84 M parameters that knows how to solve puzzles but usually guesses: the quick start's student."""

from tr_grpo.data_prep.tiny_model.files import SHIPPED, copy_shipped, pack

__all__ = ["SHIPPED", "copy_shipped", "pack"]
