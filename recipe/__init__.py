"""The method: token weights (pure torch), the policy loss registered with verl, and the Hydra configs."""
