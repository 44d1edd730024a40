"""From a folder of REAL and FAKE images to a Keras model: `python -m train`."""
