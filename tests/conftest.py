def pytest_configure(config):
    config.addinivalue_line("markers", "long: half a minute or more; its file is begun first")


def pytest_collection_modifyitems(items):
    """Files are handed out in this order: what takes long must not be what all else waits for in the end."""
    first = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in first)
