"""Small programs whose behaviour must not depend on how they were started: name -> source text.

Each is run as a script, under the interpreter of the tests and under every other version that is found. They print what
they see and never what must differ (process numbers, addresses, times).
"""

from same_programs_end import ENDINGS, TEARDOWN
from same_programs_see import ERRORS, SELF
from same_programs_use import LIBRARY, PROCESSES

PROGRAMS = {**ENDINGS, **ERRORS, **SELF, **TEARDOWN, **PROCESSES, **LIBRARY}
