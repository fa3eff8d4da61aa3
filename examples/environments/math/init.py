"""What a session of the environment `math` begins with."""

from brood_math import *
