"""Training: the objective protocol, the one loop, the average over weights, checkpoints."""
