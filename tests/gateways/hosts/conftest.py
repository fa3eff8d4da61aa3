from .fixtures import hosts, sshd  # noqa: F401
