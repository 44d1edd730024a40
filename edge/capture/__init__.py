"""Frames of cameras, network streams, recordings and image folders."""
