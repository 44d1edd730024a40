"""Where frames come from: cameras, network streams, recordings."""
