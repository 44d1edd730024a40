"""Train a Keras model on a folder of REAL and FAKE images, and measure models: `python -m train`."""
