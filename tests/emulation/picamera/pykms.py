"""In place of Raspberry Pi OS's module for previews on a screen, which Picamera2 imports and we do not use."""

from unittest.mock import MagicMock

PixelFormat = MagicMock(name="PixelFormat")
