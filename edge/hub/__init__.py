"""Models from a hub, by the standard library alone: models are data, and nothing that is downloaded is executed."""
