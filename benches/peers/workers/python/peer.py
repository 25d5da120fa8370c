"""What a library of locks has to offer to be measured."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Protocol

from job import Job


class Client(Protocol):
    """The lock as one client has it. Its own thread alone calls this, but for give_up."""

    def acquire(self) -> bool:
        """Waits without limit. False if the library gave up: then it is called again."""

    def release(self) -> None: ...

    def give_up(self) -> None:
        """Makes acquire end with an exception.

        Called from another thread while nobody can be granted the lock, again and again until it
        has.
        """


@dataclass(frozen=True)
class Peer:
    """A library with the settings of one row."""

    peer: str
    row: str
    library: str
    version: str
    settings: str
    links: list[str]
    # Makes the lock of one client, by its key.
    connect: Callable[[Job, str], Client] = field(repr=False)

    def about(self) -> dict[str, object]:
        """What the report says about it."""
        return {
            "peer": self.peer,
            "row": self.row,
            "library": self.library,
            "version": self.version,
            "client": f"redis-py {version('redis')}",
            "settings": self.settings,
            "links": self.links,
        }
