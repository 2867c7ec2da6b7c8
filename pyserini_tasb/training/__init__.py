"""Training: sampling, losses, teachers, the loop, checkpoints, validation; and studies of many trainings."""
