"""Which of the ledger's answers a watcher accepts: all, or only those of the models in use."""

from collections import OrderedDict
from collections.abc import Sequence

from edge.files import FileId
from edge.inference.retrying import RetryingClassifier
from edge.store.ledger import AnsweredAs, Entry, Ledger
from edge.watch.decode import Prepared

MAX_CONFIRMED = 100_000  # files, one hash each


class Answers:
    """The ledger's answers to the files of one watched folder."""

    def __init__(self, ledger: Ledger, root: str, network: RetryingClassifier, *, reclassify: bool = False) -> None:
        """
        Args:
            network: its models are those in use.
            reclassify: ignore verdicts of other models, and replace them by new ones.
        """
        self._ledger, self._root, self._network, self._reclassify = ledger, root, network, reclassify
        self._models = network.digests if reclassify else None
        # Hashes of files whose answer is known to be that of the right model. For an image outside of a model's domain
        # the ledger cannot tell, so the file would be decoded again at each listing.
        self._confirmed: OrderedDict[int, None] = OrderedDict()

    @property
    def model_sha256(self) -> str:
        """SHA-256 of the model that answered last, see `RetryingClassifier.model_sha256`."""
        return self._network.model_sha256

    def known(self, files: Sequence[tuple[str, FileId]]) -> list[AnsweredAs | None]:
        """See `Ledger.known`."""
        found = self._ledger.known(files, self._models)
        if self._confirmed:
            confirmed = [at for at, file in enumerate(files) if found[at] is None and hash(file) in self._confirmed]
            if confirmed:
                answers = self._ledger.known([files[at] for at in confirmed])
                for at, answer in zip(confirmed, answers, strict=True):
                    found[at] = answer
        return found

    def answered_as(self, read: Sequence[tuple[str, FileId, Prepared]]) -> list[AnsweredAs | None]:
        """See `Ledger.answered_as`. For a file that is no image, an answer of any model is accepted.

        Args:
            read: (absolute path, identity, read file) of each, at most `edge.store.ledger.MAX_LOOKUP`.
        """
        files = [(path, stamp, prepared.sha256) for path, stamp, prepared in read]
        models = None
        if self._reclassify:
            models = [None if prepared.reason else self._network.sha256(prepared.model) for _, _, prepared in read]
        return self._ledger.answered_as(files, self._root, models)

    def record(self, entries: Sequence[Entry]) -> list[Entry]:
        """See `Ledger.record`."""
        new = self._ledger.record(entries, self._root, reclassify=self._reclassify)
        if self._reclassify:
            for entry in entries:
                self._confirmed[hash((entry.path, entry.stamp))] = None
            while len(self._confirmed) > MAX_CONFIRMED:
                self._confirmed.popitem(last=False)
        return new
