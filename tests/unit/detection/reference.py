"""The detector once more, for tests: record by record, without rings, rolling sums or least counts.

It follows the contract's text line by line and computes everything from dictionaries each time.
"""

from collections import defaultdict
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

from tocsin.detection import WINDOW_MS, DetectionSettings, Preset

Sums = tuple[int, int, int, int]


def exceeds(count: int, sums: Sums, sigma: object, *, floor: bool) -> bool:
    """Tell whether z > sigma, with fractions; floor: with sigma at least sqrt(mean)."""
    n, errors, squares, _ = sums
    spread = n * squares - errors * errors
    if floor:
        spread = max(spread, n * errors)
    above_mean = n * count - errors
    return above_mean > 0 and above_mean**2 > Fraction(str(sigma)) ** 2 * spread


class Reference:
    """One service, as the contract describes it."""

    def __init__(self, settings: DetectionSettings) -> None:
        self.s = settings
        self.guarded = settings.preset is Preset.GUARDED
        self.last_arrival: int | None = None
        self.resolved: int | None = None
        self.incidents: list[Any] = []
        self.forget()

    def forget(self) -> None:
        """Begin with nothing but the resolved window and the last arrival."""
        self.first: int | None = None
        self.total: dict[int, int] = defaultdict(int)
        self.errors: dict[int, int] = defaultdict(int)
        self.late_total: dict[int, int] = defaultdict(int)
        self.late_errors: dict[int, int] = defaultdict(int)
        self.plain: dict[int, Sums] = {}
        self.guard: dict[int, Sums] = {}
        self.flagged: set[int] = set()
        self.unknown: set[int] = set()
        self.too_late = self.gap = self.clock = self.newest = 0
        self.open: Any = None

    def record(self, arrival: int, w: int, *, error: bool) -> None:
        """Apply one record."""
        self.idle(arrival)
        self.last_arrival = arrival
        if self.first is not None and w > self.clock:
            self.move(w)
        if self.first is None:
            self.first = self.clock = self.newest = w
            self.fix_baselines(w)
        self.newest = max(self.newest, w)
        if w >= self.clock - 1:
            self.total[w] += 1
            self.errors[w] += error
            if error:
                self.judge(w)
                if w == self.clock - 1:
                    self.judge(self.clock)
        elif w > self.clock - self.s.kept_windows:
            self.late_total[w] += 1
            self.late_errors[w] += error
            if error and w >= self.first:
                self.judge_late(w)
        else:
            self.too_late += 1

    def idle(self, arrival: int) -> None:
        """Advance the clock of a silent service."""
        silent_ms = 0 if self.last_arrival is None else arrival - self.last_arrival
        if self.first is not None and silent_ms > self.s.idle_ms:
            self.move((arrival - self.s.idle_margin_ms) // WINDOW_MS)

    def move(self, target: int) -> None:
        """Open windows up to the target, or up to retirement."""
        last = self.newest + self.s.retirement_windows
        for v in range(self.clock + 1, min(target, last) + 1):
            self.clock = v
            assert self.first is not None
            if v - 2 >= self.first:
                self.close(v - 2)
            self.fix_baselines(v)
            self.judge(v - 1)
        if target > last:
            for v in (last - 1, last):
                if self.first is not None and v >= self.first:
                    self.close(v)
            self.forget()

    def sums(self, windows: list[int]) -> Sums:
        """Return n, S, Q and L."""
        counts = [self.errors[w] for w in windows]
        squares = sum(count * count for count in counts)
        return len(windows), sum(counts), squares, sum(self.total[w] for w in windows)

    def fix_baselines(self, w: int) -> None:
        """Compute P(w) and G(w)."""
        assert self.first is not None
        s = self.s
        self.plain[w] = self.sums(list(range(max(self.first, w - s.baseline_windows - 1), w - 1)))
        f = self.open.f if self.open else None
        if f is not None and f <= w - 2 and not self.open.absorbed:
            self.guard[w] = self.guard[f]
            return
        reach = range(max(self.first, w - s.guarded_lookback_windows), w - 1)
        usable = [x for x in reach if x not in self.flagged | self.unknown]
        self.guard[w] = self.sums(usable[-s.baseline_windows :])

    def over_plain(self, w: int, count: int, sigma: object) -> bool:
        """Tell whether enough errors exceed sigma on P(w)."""
        sums = self.plain.get(w, (0, 0, 0, 0))
        enough = sums[0] >= self.s.minimum_baseline_windows and count > self.s.minimum_count
        return enough and exceeds(count, sums, sigma, floor=False)

    def over_guarded(self, w: int, sigma: object) -> bool:
        """Tell whether enough errors exceed sigma on G(w)."""
        sums, count = self.guard.get(w, (0, 0, 0, 0)), self.errors[w]
        enough = sums[0] >= self.s.minimum_baseline_windows and count > self.s.minimum_count
        return self.guarded and enough and exceeds(count, sums, sigma, floor=True)

    def signal(self, w: int) -> bool:
        """SIGNAL(w)."""
        return self.over_plain(w, self.errors[w], self.s.threshold_sigma)

    def breach(self, w: int) -> bool:
        """BREACH(w)."""
        n, errors, _, _ = self.guard.get(w, (0, 0, 0, 0))
        lifted = n * self.errors[w] >= Fraction(str(self.s.breach_lift)) * errors
        return lifted and self.over_guarded(w, self.s.threshold_sigma)

    def fire(self, w: int) -> bool:
        """FIRE(w)."""
        if not self.breach(w):
            return False
        before = range(w - self.s.confirm_run_windows + 1, w)
        return self.over_guarded(w, self.s.confirm_sigma) or all(map(self.breach, before))

    def hot(self, w: int) -> bool:
        """HOT(w)."""
        held = self.open.f is not None and self.open.f <= w
        return self.signal(w) or self.breach(w) or (held and self.over_guarded(w, self.s.hot_sigma))

    def begin(self, w: int) -> None:
        """Open an incident."""
        self.open = SimpleNamespace(
            window=w, lo=w, calm=0, critical=False, f=None, absorbed=False, end=None, reason=None
        )
        self.incidents.append(self.open)

    def judge(self, w: int) -> None:
        """Judge an open window."""
        signal, breach = self.signal(w), self.breach(w)
        if not signal and not breach:
            return
        waits = self.open and w == self.clock and self.open.calm == self.s.calm_windows - 1
        if waits and self.clock - 1 >= self.open.lo and not self.hot(self.clock - 1):
            return
        if self.open is None:
            if self.resolved is not None and w <= self.resolved:
                return
            self.begin(w)
        self.open.lo = min(self.open.lo, w)
        self.open.critical |= self.over_plain(w, self.errors[w], self.s.critical_sigma)
        self.open.critical |= breach and self.over_guarded(w, self.s.critical_sigma)
        if self.fire(w) if self.guarded else signal:
            self.open.f = w if self.open.f is None else min(self.open.f, w)

    def judge_late(self, w: int) -> None:
        """Judge a closed window with its late errors."""
        count = self.errors[w] + self.late_errors[w]
        if not self.over_plain(w, count, self.s.threshold_sigma):
            return
        if self.open is None and (self.resolved is None or w > self.resolved):
            self.begin(w)
        if self.open is not None and w >= self.open.lo:
            self.open.critical |= self.over_plain(w, count, self.s.critical_sigma)
            if not self.guarded and self.open.f is None:
                self.open.f = w

    def close(self, w: int) -> None:
        """Close a window."""
        self.gap = self.gap + 1 if self.total[w] == 0 else 0
        incident = self.open
        if incident and w >= incident.lo:
            incident.calm = 0 if self.hot(w) else incident.calm + 1
            held = incident.f is not None and incident.f <= w
            if self.guarded and held and not incident.absorbed:
                self.flagged.add(w)
                if w - incident.f + 1 >= self.s.absorb_windows:
                    self.flagged -= set(range(incident.f, w + 1))
                    incident.absorbed = True
            if incident.calm == self.s.calm_windows:
                self.flagged -= set(range(w - self.s.calm_windows + 1, w + 1))
                incident.end, self.resolved, self.open = w, w, None
                incident.reason = "absorbed" if incident.absorbed else "calm"
        n, _, _, records = self.guard[w]
        talkative = records >= self.s.unknown_records_per_window * n
        if self.guarded and self.gap >= self.s.unknown_gap_windows and talkative:
            oldest = max(w - self.gap + 1, self.clock - self.s.kept_windows + 1)
            self.unknown |= set(range(oldest, w + 1))
