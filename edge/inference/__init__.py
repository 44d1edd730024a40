"""From a model file to a verdict: models, runtimes, the Edge TPU."""
