"""A job that runs once per period, however many machines have it in their crontab.

    */5 * * * * REDIS_URL=redis://locks:6379 python cron.py
"""

import os
import sys

from redis import Redis
from redislock_client import Locks

PERIOD = 240.0  # a little less than the five minutes of the crontab, as clocks differ


def run(url: str, key: str, period: float = PERIOD) -> bool:
    """Whether this machine did the job."""
    with Locks(Redis.from_url(url), label="cron") as locks:
        with locks.once(key, period).attempt() as hold:
            if hold is None:
                return False
            print(f"doing the job, fence {hold.fence}")
            return True


if __name__ == "__main__":
    url = os.environ.get("REDIS_URL") or sys.exit("cron.py: set REDIS_URL")
    print("done" if run(url, "example:cron") else "it was done already, or is being done")
