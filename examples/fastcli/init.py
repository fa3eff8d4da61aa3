"""The init section: runs once, its result is shared by every run."""

from array import array

LIMIT = 3_000_000


def sieve(limit):
    """For every number up to the limit its smallest prime factor."""
    table = array("I", range(limit + 1))
    for prime in range(2, int(limit**0.5) + 1):
        if table[prime] == prime:
            for multiple in range(prime * prime, limit + 1, prime):
                if table[multiple] == multiple:
                    table[multiple] = prime
    return table


smallest_factor = sieve(LIMIT)
