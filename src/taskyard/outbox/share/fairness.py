"""Whose turn it is among tenants: start-time fair queueing. Pure: no rows, no clock.

P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queueing" (SIGCOMM 1996): each tenant has a tag, the virtual time at which
its next job begins; the smallest comes next, and its tag moves on by what the job costs divided by the tenant's weight.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Mapping

#: What a job is taken to cost before any was measured; between equals it does not matter.
_FIRST_GUESS_SECONDS = 0.01
#: About how many jobs an expected cost is averaged over.
_REMEMBERED_JOBS = 10
#: Jobs of a tenant that can be out: more than a window holds.
_MOST_OPEN = 10_000
#: Tenants remembered beyond those that wait.
_MOST_IDLE = 1000


@dataclasses.dataclass(slots=True)
class Share:
    """What is remembered of one tenant."""

    #: The virtual time at which its next job begins, in seconds of run time per weight.
    tag: float
    #: What one of its jobs is expected to cost, in seconds; None: not measured yet.
    expected: float | None = None
    #: Jobs that were charged and whose real cost is not known yet. What was fed before anybody else waited is not.
    open_jobs: int = 0
    #: What they were charged with together, in seconds: not all alike, if what one is expected to cost changed.
    open_seconds: float = 0.0
    #: What its running jobs have cost beyond what was charged for them, divided by its weight.
    excess: float = 0.0

    @property
    def charged(self) -> float:
        """What a job whose real cost is not known yet was charged with, in the mean."""
        return self.open_seconds / self.open_jobs if self.open_jobs else 0.0

    @property
    def place(self) -> float:
        """Where it stands among the others."""
        return self.tag + self.excess


class Shares:
    """The shares of all tenants in one queue and priority.

    A tenant is charged what its job is expected to cost when the job is fed, and what it really cost once that is
    known. Who had nothing to do begins where the others are: nobody saves up for later, and what was done while nobody
    else wanted anything costs nothing. Between two tenants that both wait, service differs by no more than about one
    job of each, and by what was fed before its real cost was known.
    """

    def __init__(self) -> None:
        self._shares: dict[str, Share] = {}
        self._contenders: set[str] = set()
        self._usual: float | None = None
        #: The virtual time: where somebody new begins. Never goes back.
        self.moment = 0.0

    def order(self, room: int, caps: Mapping[str, int], *, weights: Mapping[str, float]) -> list[str]:
        """Whose jobs come next, one name for each; no tenant more often than its cap. Nobody is charged yet.

        ``caps`` has those who have work and may start some of it. ``weights`` are of those whose weight is not 1.
        """
        self._admit(set(caps))
        left = dict(caps)
        line = [(self._shares[tenant].place, tenant) for tenant, cap in caps.items() if cap > 0]
        heapq.heapify(line)
        chosen: list[str] = []
        while line and len(chosen) < room:
            place, tenant = line[0]
            chosen.append(tenant)
            left[tenant] -= 1
            if left[tenant]:
                heapq.heapreplace(line, (place + self._cost(tenant) / weights.get(tenant, 1.0), tenant))
            else:
                heapq.heappop(line)
        return chosen

    def charge(self, fed: Mapping[str, int], weights: Mapping[str, float]) -> None:
        """So many jobs of each were fed."""
        for tenant, jobs in fed.items():
            share = self._shares.setdefault(tenant, Share(self.moment))
            cost = self._cost(tenant)
            share.tag += jobs * cost / weights.get(tenant, 1.0)
            charged, share.open_jobs = share.charged, share.open_jobs + jobs
            share.open_seconds += jobs * cost
            if share.open_jobs > _MOST_OPEN:
                # Some are never heard of again: cancelled, say.
                share.open_seconds -= (share.open_jobs - _MOST_OPEN) * charged
                share.open_jobs = _MOST_OPEN

    def correct(self, tenant: str, jobs: int, *, seconds: float, weight: float) -> None:
        """So many jobs of a tenant ended, and took so long together."""
        share = self._shares.get(tenant)
        if share is None or jobs <= 0:
            return
        known = min(jobs, share.open_jobs)
        charged = known * share.charged
        share.tag += (known * seconds / jobs - charged) / weight
        share.open_jobs, share.open_seconds = share.open_jobs - known, share.open_seconds - charged
        mean, part = seconds / jobs, jobs / (jobs + _REMEMBERED_JOBS)
        share.expected = mean if share.expected is None else share.expected + (mean - share.expected) * part
        self._usual = mean if self._usual is None else self._usual + (mean - self._usual) * part

    def run(self, running: Mapping[str, tuple[int, float]], weights: Mapping[str, float]) -> None:
        """What runs now, and for how long together: a job of an hour counts before it ends."""
        for tenant, share in self._shares.items():
            jobs, seconds = running.get(tenant, (0, 0.0))
            share.excess = max(0.0, seconds - jobs * share.charged) / weights.get(tenant, 1.0)

    def _cost(self, tenant: str) -> float:
        share = self._shares.get(tenant)
        expected = self._usual if share is None or share.expected is None else share.expected
        # Not zero, or one tenant would come again and again.
        return _FIRST_GUESS_SECONDS if expected is None else max(expected, 1e-5)

    def _admit(self, contenders: set[str]) -> None:
        """Move the virtual time on, and let those begin there who did not contend until now."""
        staying = self._contenders & contenders
        if staying:
            self.moment = max(self.moment, min(self._shares[tenant].place for tenant in staying))
        elif self._shares:
            # A busy time has ended: all begin anew, behind what was served in it.
            self.moment = max(self.moment, max(share.place for share in self._shares.values()))
        for tenant in contenders - staying:
            share = self._shares.setdefault(tenant, Share(self.moment))
            share.tag = max(share.tag, self.moment - share.excess)
        self._contenders = contenders
        if len(self._shares) > len(contenders) + _MOST_IDLE:
            # Who begins where the others are, anyway, need not be remembered.
            self._shares = {
                tenant: share
                for tenant, share in self._shares.items()
                if tenant in contenders or share.place > self.moment
            }
