"""Connects and passes the connection over the socket that is its standard output: for `ProxyUseFdpass` of ssh_config(5), so that
an ssh of one network namespace has a connection of another.
usage: connect.py HOST PORT"""

import socket
import sys

connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
connection.settimeout(None)
socket.send_fds(socket.socket(fileno=1), [b"\0"], [connection.fileno()])
