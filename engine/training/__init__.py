"""Training: the step, the optimizers, the loop that obeys commands, checkpoints that come back exactly."""
