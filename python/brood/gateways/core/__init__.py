"""The part of a gateway that runs on both sides: values, channels, the work of a remote.

Shipped to machines that have only Python 3.6 or later: standard library only, ASCII, relative imports only. On a remote this
package is called ``brood_core``. What it costs to send is printed by the tests.
"""
