"""In charge of rounds: one that warms up and isn't counted, then as many as were asked for and there is time for."""
import collections
import time

from . import postgres


class Rounds:
    """Each turn of the loop takes every contender once, so what disturbs the machine disturbs all of them."""

    def __init__(self, count, budget_s):
        self.count, self.budget_s = count, budget_s
        self.values = collections.defaultdict(list)

    def __iter__(self):
        begun = time.monotonic()
        for number in range(self.count + 1):
            if number > 1 and time.monotonic() - begun > self.budget_s:
                return
            self.number = number
            postgres.psql("checkpoint;")
            yield number
            if number == 0:
                if self.count == 0 or time.monotonic() - begun > self.budget_s:
                    # The one round: there are to be no others, or it is so slow that cold caches are its least trouble.
                    return
                self.values.clear()

    def add(self, key, value):
        self.values[key].append(value)

    def __getitem__(self, key):
        return self.values[key]
