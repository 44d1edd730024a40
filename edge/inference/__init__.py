"""From a model file and pixels to a verdict: models, LiteRT runtimes, the Edge TPU."""
