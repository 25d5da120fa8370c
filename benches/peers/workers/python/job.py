"""What to measure, as the orchestrator writes it."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    peer: str
    row: str
    workload: str
    clients: int
    # How long a client holds the contended lock, in microseconds.
    section_us: int
    seconds: float
    warmup_seconds: float
    # host:port
    redis: str
    lease_ms: int
    key: str

    @classmethod
    def parse(cls, text: str) -> "Job":
        """Fields for servers that no peer here uses are left out."""
        given = json.loads(text)
        job = cls(**{name: given[name] for name in cls.__dataclass_fields__})
        if job.workload not in ("contended", "uncontended"):
            raise ValueError(f"unknown workload: {job.workload}")
        if job.clients < 1:
            raise ValueError("clients must be at least 1")
        return job

    @property
    def contended(self) -> bool:
        return self.workload == "contended"

    @property
    def host(self) -> str:
        return self.redis.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.redis.rpartition(":")[2])

    def key_of(self, client: int) -> str:
        """The one lock of all clients, or the client's own."""
        return self.key if self.contended else f"{self.key}:{client}"
