"""The network at work for a run that goes on, whatever its Coral does."""

from edge.classifier import Classifier
from edge.errors import CoralError
from edge.image import Pixels
from edge.trouble import Say, Trouble
from edge.verdict import Verdict


class Network:
    """A classifier that is waited for while its Coral is away.

    Attributes:
        size: (width, height) in pixels that it takes.
        trouble: whether it can be asked just now.
    """

    def __init__(self, classifier: Classifier, say: Say, *, once: bool) -> None:
        """
        Args:
            once: raise what goes wrong, instead of saying it and trying again.
        """
        self._classifier, self._once = classifier, once
        self.size = classifier.size
        self.trouble = Trouble(say, "; trying again")

    @property
    def model_sha256(self) -> str:
        """Of the model that is at work now: without its Coral another one may be."""
        return self._classifier.model.sha256

    @property
    def labels(self) -> tuple[str, str]:
        """Of score 0 and of score 1."""
        return self._classifier.model.labels

    def verdict(self, path: str, pixels: Pixels, own_size: tuple[int, int], seconds: float) -> Verdict | None:
        """See `Classifier.verdict`; None if the Coral is away, and there is none before `trouble` is due.

        Raises:
            ModelError: the network has failed.
            CoralError: with `once`.
        """
        if not self.trouble.is_due:
            return None
        try:
            if self.trouble.reason:
                self._classifier.reopen()
            verdict = self._classifier.verdict(path, pixels, own_size, seconds)
        except CoralError as error:
            if self._once:
                raise
            self.trouble.met(error)
            return None
        self.trouble.over()
        return verdict
