"""A training run: solver prototxt to core solver, tests, log, metrics, snapshots, signals."""
