"""Screen 2: prompts to the weights in training or to any checkpoint, token by token."""
