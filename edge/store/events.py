"""The events and frames of cameras."""

import os
import time

from edge.store.answers import AnswerTable
from edge.store.rows import ANSWER_COLUMNS, answer_of_row
from edge.verdict import BEGAN, FRAME, Answer, CameraEvent, Recorded

FORGOTTEN_AT_ONCE = 1000  # frames that one call deletes at most


class EventTable(AnswerTable):
    """The events and frames in the table of answers, where a camera's name takes the place of path and folder."""

    def record_event(self, answer: Answer, event: CameraEvent, model_sha256: str, token: bytes) -> None:
        """Commit a camera's event or frame.

        Args:
            answer: its path is the camera's name.
            event: the event or frame.
            model_sha256: of the model that answered.
            token: 32 random bytes for each event or frame. A second call with the same token records nothing, so that
                an attempt whose success is unknown can be repeated.
        """
        camera = os.fsencode(answer.path)
        with self._transaction():
            self._insert_answer(camera, token, answer, model_sha256, camera, event)

    def forget_frames(self, camera: str, older_than_seconds: float, limit: int = FORGOTTEN_AT_ONCE) -> int:
        """Delete some of a camera's oldest frames that every sink has received, and return how many."""
        with self._without_sync(), self._transaction():
            return self._database.execute(
                "DELETE FROM answers WHERE id IN (SELECT id FROM (SELECT id, answered_at FROM answers"
                f" WHERE folder = ?1 AND state = '{FRAME}' ORDER BY id LIMIT ?2) WHERE answered_at < ?3)"
                # The last answer stays too: SQLite would assign its id again, and sinks have received that id already.
                " AND id <= IFNULL((SELECT MIN(answer_id) FROM deliveries WHERE folder = ?1), id)"
                " AND id < (SELECT MAX(id) FROM answers) AND id NOT IN (SELECT answer_id FROM given_up)",
                (os.fsencode(camera), limit, time.time() - older_than_seconds),
            ).rowcount

    def unfinished(self, camera: str) -> Recorded | None:
        """The recorded beginning of a camera's last event, if that has no recorded end; else None."""
        rows = self._rows(
            # The same condition as that of the index on events, which leaves out frames.
            f"SELECT {ANSWER_COLUMNS} FROM answers WHERE folder = ? AND state != '{FRAME}' ORDER BY id DESC LIMIT 1",
            os.fsencode(camera),
        )
        last = answer_of_row(rows[0]) if rows else None
        return last if last and last.event and last.event.state == BEGAN else None
