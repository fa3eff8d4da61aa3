"""A Jupyter kernel beside brood, as `brood bench sessions` measures it. Needs jupyter_client and ipykernel."""
import contextlib
import os
import subprocess
import time

PATIENCE = 120  # seconds: a hang, not a measure of speed


@contextlib.contextmanager
def apart_from_the_user(folder):
    """Connection files and histories go to that folder; the debugger says nothing on stderr."""
    settings = {"JUPYTER_RUNTIME_DIR": f"{folder}/runtime", "IPYTHONDIR": f"{folder}/ipython", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def first_result(code):
    """Seconds from the start of a kernel to the value that the code leaves in `value`.

    The request is sent at once, without asking first whether the kernel is ready: it waits in the socket until then.
    """
    from jupyter_client import KernelManager

    manager = KernelManager()
    begin = time.perf_counter()
    manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        client = manager.blocking_client()
        client.start_channels(iopub=False, stdin=False, hb=False)
        try:
            reply = client.execute(code, user_expressions={"value": "value"}, reply=True, timeout=PATIENCE)["content"]
            took = time.perf_counter() - begin
        finally:
            client.stop_channels()
    finally:
        manager.shutdown_kernel(now=True)
    shown = reply.get("user_expressions", {}).get("value", {}).get("data", {}).get("text/plain")
    if reply["status"] != "ok" or shown != "1":
        raise RuntimeError(f"the Jupyter kernel answered {reply}")
    return took
