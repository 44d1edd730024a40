"""From image files and frames to the pixels that networks are shown."""
