"""Tell photographs (REAL) from AI-generated images (FAKE), on the device."""

from typing import TYPE_CHECKING

__version__ = "0.2.0"
__all__ = ["Classifier", "EdgeDetectError", "Verdict", "__version__"]

if TYPE_CHECKING:
    from edge.api import Classifier
    from edge.errors import EdgeDetectError
    from edge.verdict import Verdict
else:  # a type checker shall not take just any name for one of ours
    _MODULES = {"Classifier": "edge.api", "EdgeDetectError": "edge.errors", "Verdict": "edge.verdict"}

    def __getattr__(name: str) -> object:
        """A public name is imported when it is first asked for: numpy and Pillow take longer than `--help`."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
