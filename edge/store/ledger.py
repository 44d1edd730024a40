"""The ledger of a state folder: all answers, with pending moves and deliveries. Its methods are in the base classes."""

from edge.store.answers import MAX_LOOKUP, AnsweredAs, Entry
from edge.store.deliveries import DELIVERED_AT_ONCE, DeliveryTable
from edge.store.events import FORGOTTEN_AT_ONCE, EventTable
from edge.store.moves import Move, MoveTable, SetAside

__all__ = ["DELIVERED_AT_ONCE", "FORGOTTEN_AT_ONCE", "MAX_LOOKUP", "AnsweredAs", "Entry", "Ledger", "Move", "SetAside"]


class Ledger(EventTable, DeliveryTable, MoveTable):
    """The ledger of one state folder; several processes may share it.

    Answers to files: `known`, `answered_as`, `record`. Cameras: `record_event`, `forget_frames`, `unfinished`. Sinks:
    `subscribe`, `keep_subscribed`, `undelivered`, `mark_delivered`, `give_up`, `given_up`. Moves: `moves`,
    `is_to_be_moved`, `moved`, `set_aside`, `note_set_aside`, `forget_set_aside`. The open file:
    `reopen`, `is_there`, `close`.
    """
