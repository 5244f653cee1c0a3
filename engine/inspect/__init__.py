"""Looking into a trained model: the loss of each token, attention, what each layer would say, tokens and neighbours.

    subject     a run's weights and its held-out text
    losses      a text's loss, token by token; the worst passages of the validation split
    layers      who looks at whom; the likeliest token after each layer
    vocabulary  where tokens end, how a token is merged, its nearest neighbours

Results are numbers and numpy arrays, never tensors. Import what you need from the modules; they load torch.
"""
