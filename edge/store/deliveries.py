"""Which answers each sink has received."""

import os
from collections.abc import Iterable

from edge.store.database import Database
from edge.store.rows import ANSWER_COLUMNS, answer_of_row
from edge.verdict import Recorded

DELIVERED_AT_ONCE = 256  # answers of one batch


class DeliveryTable(Database):
    """The tables of deliveries, and of deliveries that were given up."""

    def subscribe(self, folder: str, sink: str) -> None:
        """Deliver every answer in a folder to a sink; to a new sink, those from now on."""
        with self._transaction():
            self._database.execute(
                "INSERT OR IGNORE INTO deliveries SELECT ?, ?, IFNULL(MAX(id), 0) FROM answers",
                (os.fsencode(folder), sink),
            )

    def keep_subscribed(self, folder: str, sinks: Iterable[str]) -> None:
        """Delete the subscriptions of all other sinks of a folder."""
        with self._transaction():
            name, kept = os.fsencode(folder), set(sinks)
            for table in ("deliveries", "given_up"):
                rows = self._database.execute(f"SELECT DISTINCT sink FROM {table} WHERE folder = ?", (name,))
                for sink in {sink for (sink,) in rows.fetchall()} - kept:
                    self._database.execute(f"DELETE FROM {table} WHERE folder = ? AND sink = ?", (name, sink))

    def undelivered(self, folder: str, sink: str, limit: int = DELIVERED_AT_ONCE) -> list[Recorded]:
        """The answers in a folder that a sink has not received, the oldest first.

        A sink without subscription gets all: it subscribed to the ledger that this one replaced.
        """
        if self._latest is not None and self._latest[0] == folder:
            answers = self._latest[1]
            first = answers[0].id
            ((last, has_older),) = self._rows(
                "SELECT last, EXISTS (SELECT 1 FROM answers WHERE folder = ?1 AND id > last AND id < ?3) FROM (SELECT"
                " IFNULL((SELECT answer_id FROM deliveries WHERE folder = ?1 AND sink = ?2), 0) AS last)",
                os.fsencode(folder),
                sink,
                first,
            )
            start = max(0, last + 1 - first)
            if not has_older and start < len(answers):
                return answers[start : start + limit]
        rows = self._rows(
            f"SELECT {ANSWER_COLUMNS} FROM answers WHERE folder = ?1 AND id > IFNULL("
            "(SELECT answer_id FROM deliveries WHERE folder = ?1 AND sink = ?2), 0) ORDER BY id LIMIT ?3",
            os.fsencode(folder),
            sink,
            limit,
        )
        return [answer_of_row(row) for row in rows]

    def mark_delivered(self, folder: str, sink: str, last: int) -> None:
        """Record that a sink has received all answers up to an id.

        It does not wait for the disk: after a power cut, the last answers may be delivered a second time.
        """
        with self._without_sync(), self._named_errors():
            self._database.execute(
                "INSERT OR REPLACE INTO deliveries (answer_id, folder, sink) VALUES (?, ?, ?)",
                (last, os.fsencode(folder), sink),
            )

    def given_up(self, folder: str, sink: str, after: int = 0) -> list[Recorded]:
        """Answers whose delivery to a sink was given up, the oldest first, at most DELIVERED_AT_ONCE.

        Args:
            after: an id; only later answers are returned.
        """
        rows = self._rows(
            f"SELECT {ANSWER_COLUMNS} FROM answers WHERE id > ? AND id IN "
            "(SELECT answer_id FROM given_up WHERE folder = ? AND sink = ?) ORDER BY id LIMIT ?",
            after,
            os.fsencode(folder),
            sink,
            DELIVERED_AT_ONCE,
        )
        return [answer_of_row(row) for row in rows]

    def give_up(self, folder: str, sink: str, answer_id: int, *, for_now: bool) -> None:
        """Record that a delivery to a sink was given up (`for_now`), or that it succeeded later."""
        with self._without_sync(), self._named_errors():
            if for_now:
                statement = "INSERT OR IGNORE INTO given_up (folder, sink, answer_id) VALUES (?, ?, ?)"
            else:
                statement = "DELETE FROM given_up WHERE folder = ? AND sink = ? AND answer_id = ?"
            self._database.execute(statement, (os.fsencode(folder), sink, answer_id))
