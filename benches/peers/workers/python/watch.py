"""Watches one lock from the side of its clients."""

import threading
import time
from collections import OrderedDict

# Who begins to wait this much later and is served first has overtaken.
OVERTAKEN_NS = 5_000_000


class Watch:
    """Sees that a lock excludes, how long it lets wait, and whom it lets pass."""

    def __init__(self, clients: int) -> None:
        self.grants_total = 0
        # By client: the waits that were granted in the measured span.
        self.waits_ns: list[list[int]] = [[] for _ in range(clients)]
        # By client: how long who waited at the end of the span had waited by then.
        self.pending_ns: dict[int, int] = {}
        self.handoffs_ns: list[int] = []
        self.sections_ns: list[int] = []
        self.overtakes = 0
        self.breaches = 0
        # Updated without a mutex: only the lock under test keeps the updates apart.
        self.counter = 0
        self._holders = 0
        self._measuring = False
        self._released_ns: int | None = None
        self._mutex = threading.Lock()
        # Since when each client waits, in the order in which they began.
        self._waiting: OrderedDict[int, int] = OrderedDict()

    def asked(self, client: int) -> None:
        """The client is about to ask for the lock."""
        with self._mutex:
            self._waiting[client] = time.perf_counter_ns()

    def granted(self, client: int, at_ns: int) -> None:
        """The client has the lock since `at_ns`."""
        with self._mutex:
            asked_ns = self._waiting.pop(client)
            self.grants_total += 1
            if self._measuring:
                self.waits_ns[client].append(at_ns - asked_ns)
                if self._released_ns is not None:
                    self.handoffs_ns.append(at_ns - self._released_ns)
                if self._waiting and asked_ns - next(iter(self._waiting.values())) > OVERTAKEN_NS:
                    self.overtakes += 1
            self._released_ns = None

    def releasing(self) -> None:
        """The holder is about to release the lock."""
        with self._mutex:
            self._released_ns = time.perf_counter_ns()

    def waits(self, client: int) -> bool:
        with self._mutex:
            return client in self._waiting

    def section(self, seconds: float) -> None:
        """Does what a holder does for so long, and sees whether it is alone."""
        begin_ns = time.perf_counter_ns()
        with self._mutex:
            self._holders += 1
            if self._holders != 1:
                self.breaches += 1
        before = self.counter
        if seconds:
            # Also the short ones sleep: a spinning holder would keep the interpreter from all
            # other clients, which no work on a resource elsewhere does.
            time.sleep(seconds)
        self.counter = before + 1
        with self._mutex:
            self._holders -= 1
            if self._measuring:
                self.sections_ns.append(time.perf_counter_ns() - begin_ns)

    def begin(self) -> None:
        with self._mutex:
            self._measuring = True

    def end(self) -> None:
        """Ends the measured span; who still waits counts with the age of the wait."""
        with self._mutex:
            if not self._measuring:
                return
            self._measuring = False
            now_ns = time.perf_counter_ns()
            self.pending_ns = {client: now_ns - asked for client, asked in self._waiting.items()}

    @property
    def violations(self) -> int:
        """Right only when all clients have ended."""
        return self.breaches + abs(self.grants_total - self.counter)
