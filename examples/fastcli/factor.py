#!/usr/bin/env brood-python
"""Print the prime factors of numbers. Usage: factor.py NUMBER..."""

import sys

try:
    smallest_factor  # the init section has made it
except NameError:
    from init import smallest_factor  # plain python3: make it now


def factors(number):
    while number > 1:
        prime = smallest_factor[number]
        yield prime
        number //= prime


def main():
    limit = len(smallest_factor) - 1
    for argument in sys.argv[1:]:
        if not argument.isdecimal() or not 1 <= int(argument) <= limit:
            sys.exit(f"factor.py: {argument!r} is not a number from 1 to {limit}")
        print(f"{argument}:", *factors(int(argument)))


if __name__ == "__main__":
    main()
