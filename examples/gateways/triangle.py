#!/usr/bin/env python3
"""Three interpreters, each connected with the two others: this program, a process, and what that process serves a socket for.

    python3 triangle.py

            this program
        popen /        \\ socket//installvia=corner
             /          \\
          corner ------- other
               its child

The corner runs a socket server in its process. The other gateway connects to it directly: what is said to it does not pass
through the corner, which has only started its interpreter.
"""

import os

import brood


def main():
    with brood.Group() as group:
        corner = group.makegateway("popen//id=corner")
        other = group.makegateway("socket//installvia=corner//id=other")
        here, there, parent = corner.call(os.getpid), other.call(os.getpid), other.call(os.getppid)
        print(f"this program is process {os.getpid()}")
        print(f"corner is process {here}, a child of {corner.call(os.getppid)}")
        print(f"other is process {there}, a child of {parent}, reached at {other.remoteaddress}")


if __name__ == "__main__":
    main()
