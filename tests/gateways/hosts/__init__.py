"""Other machines for tests of gateways: sshd, hosts behind each other, links with faults, and an account of what is left."""
