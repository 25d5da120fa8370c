"""The clients of a job: threads that take their lock, hold it, release it, and at once again.

How it stops: the client that holds the lock when the span is over keeps it until every wait has
been given up, and releases it last. So no wait is granted that nobody would end.
"""

import threading
import time

from job import Job
from peer import Client, Peer
from watch import Watch

# How long the clients may take to end, beside the time of one section, in seconds.
ENDING_S = 10.0
GIVE_UP_AGAIN_S = 0.02


class Run:
    def __init__(self, job: Job, peer: Peer) -> None:
        self.job = job
        self.errors = 0
        self.gave_up = 0
        # The length of the measured span.
        self.elapsed_s = 0.0
        # The first failure of a client.
        self.failure: BaseException | None = None
        # Set when something happened that the main thread waits for.
        self.event = threading.Event()
        self._mutex = threading.Lock()
        self._measuring = False
        self._stopping = False
        self._giving_up = False
        count = job.clients
        self.watches = [Watch(count) for _ in range(1 if job.contended else count)]
        self._clients = [
            _Looping(
                self, id, peer.connect(job, job.key_of(id)), self.watches[id % len(self.watches)]
            )
            for id in range(count)
        ]

    def start(self) -> None:
        for client in self._clients:
            client.thread.start()

    def let_run(self, seconds: float) -> None:
        """Lets the clients run for so long. Raises what made one fail."""
        deadline = time.monotonic() + seconds
        while self.failure is None and (left := deadline - time.monotonic()) > 0:
            self.event.wait(left)
        self.check()

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def measure(self) -> None:
        begin = time.perf_counter()
        for watch in self.watches:
            watch.begin()
        self._measuring = True
        try:
            self.let_run(self.job.seconds)
        finally:
            self._measuring = False
            for watch in self.watches:
                watch.end()
            self.elapsed_s = time.perf_counter() - begin

    def stop(self) -> None:
        """Lets every client end after its turn, and gives the waits up."""
        self._stopping = True
        deadline = time.monotonic() + ENDING_S + self.job.section_us / 1e6
        while not self._ended():
            if time.monotonic() > deadline:
                self.fail(TimeoutError("clients did not end after the measured span"))
                return
            # After a failure there may be no holder any more who could do it.
            if self.failure is not None:
                self._give_up_waits()
            time.sleep(0.001)

    def fail(self, cause: BaseException) -> None:
        with self._mutex:
            self.errors += 1
            self.failure = self.failure or cause
        self.event.set()

    def _ended(self, but: "_Looping | None" = None) -> bool:
        return all(client is but or client.ended for client in self._clients)

    def _give_up_waits(self, holder: "_Looping | None" = None) -> None:
        self._giving_up = True
        for client in self._clients:
            if client is not holder and not client.ended and client.watch.waits(client.id):
                client.lock.give_up()

    def _end_other_waits(self, holder: "_Looping") -> None:
        deadline = time.monotonic() + ENDING_S / 2
        while not self._ended(holder) and time.monotonic() < deadline:
            self._give_up_waits(holder)
            time.sleep(GIVE_UP_AGAIN_S)

    def _count_gave_up(self) -> None:
        if self._measuring:
            with self._mutex:
                self.gave_up += 1


class _Looping:
    """One client."""

    def __init__(self, run: Run, id: int, lock: Client, watch: Watch) -> None:
        self.id = id
        self.lock = lock
        self.watch = watch
        self.ended = False
        self.thread = threading.Thread(target=self._loop, name=f"client-{id}", daemon=True)
        self._run = run
        self._section_s = run.job.section_us / 1e6 if run.job.contended else 0.0

    def _loop(self) -> None:
        try:
            while not self._run._stopping and self._turn():
                pass  # At once again.
        except BaseException as cause:
            self._run.fail(cause)
        finally:
            self.ended = True

    def _turn(self) -> bool:
        """False if the wait was given up."""
        watch = self.watch
        watch.asked(self.id)
        if not self._acquire():
            return False
        watch.granted(self.id, time.perf_counter_ns())
        watch.section(self._section_s)
        if self._run._stopping and self._run.job.contended:
            self._run._end_other_waits(self)
        watch.releasing()
        self.lock.release()
        return True

    def _acquire(self) -> bool:
        try:
            while not self.lock.acquire():
                self._run._count_gave_up()
                if self._run._stopping:
                    return False
            return True
        except Exception:
            if self._run._giving_up:
                return False
            raise
