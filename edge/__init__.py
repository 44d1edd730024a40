"""Tell photographs (REAL) from AI-generated images (FAKE), on the device."""

__version__ = "0.1.0"
