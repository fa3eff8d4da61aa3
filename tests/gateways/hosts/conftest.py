from .fixtures import sshd  # noqa: F401
