"""Boards that share one queue of images: NATS JetStream between those who submit images and those who classify them."""
