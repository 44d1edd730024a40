"""Models for a long run, which survives the loss of its Coral."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge.errors import CoralError
from edge.imaging.inputs import Input
from edge.imaging.preprocess import Pixels
from edge.inference.router import Router
from edge.retry import Backoff
from edge.verdict import Evidence, Verdict

if TYPE_CHECKING:  # see edge.inference.router
    from edge.inference.classifier import Further


class RetryingClassifier:
    """A router that is opened again after its Coral was lost; for one thread only.

    Attributes:
        backoff: after a failure of the Coral, the time of the next attempt.
    """

    def __init__(self, router: Router, *, once: bool) -> None:
        """
        Args:
            once: raise errors of the Coral instead of retrying.
        """
        self._router, self._once = router, once
        self._answered_by = ""  # the digest of a model
        self.backoff = Backoff("; trying again")

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the models take; can be pickled.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `Router.inputs`.
        """
        return self._router.inputs

    @property
    def labels(self) -> tuple[str, str]:
        """Of score 0 and of score 1; a verdict may also be UNSURE.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `Router.labels`.
        """
        return self._router.labels

    @property
    def digests(self) -> frozenset[str]:
        """See `Router.digests`.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `Router.inputs`.
        """
        return self._router.digests

    @property
    def model_sha256(self) -> str:
        """Of the model that answered last; before any has, of the first one.

        It may be another one than the file's that was asked for: without its Coral a model runs in its other form.
        """
        return self._answered_by or self._router.sha256(0)

    def sha256(self, model: int) -> str:
        """See `Router.sha256`.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `Router.inputs`.
        """
        return self._router.sha256(model)

    def choose(self, own_size: tuple[int, int]) -> Input:
        """What is to be taken of an image of this upright (width, height), and for which model.

        Raises:
            ModelError, RuntimeMissingError, CoralError: see `Router.inputs`.
        """
        return self._router.choose(own_size)

    def verdict(
        self,
        path: str,
        pixels: Pixels,
        own_size: tuple[int, int],
        seconds: float,
        model: int = 0,
        *,
        explain: bool = False,
        further: "Further | None" = None,
    ) -> Verdict | None:
        """See `Router.verdict`; None while the Coral is missing and `backoff` is not due.

        Raises:
            ModelError, RuntimeMissingError: a model cannot be had, or has failed.
            CoralError: with `once`.
        """
        if not self.backoff.is_due:
            return None
        try:
            if self.backoff.reason:
                self._router.reopen()
            verdict = self._router.verdict(
                path, pixels, own_size, seconds, model=model, explain=explain, further=further
            )
            self._answered_by = self._router.sha256(model)
        except CoralError as error:
            if self._once:
                raise
            self.backoff.failed(error)
            return None
        self.backoff.succeeded()
        return verdict

    def with_provenance(self, verdict: Verdict, provenance: Sequence[Evidence], model: int = 0) -> Verdict:
        """See `Router.with_provenance`."""
        return self._router.with_provenance(verdict, provenance, model)
