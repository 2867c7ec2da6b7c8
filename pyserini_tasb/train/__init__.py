"""Training: pair store, clusters, sampler, losses, teachers, validation, checkpoints, loop."""
