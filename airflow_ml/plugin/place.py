"""The store that this API server reads, opened once in a while, and what one process remembers of it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from airflow_ml.errors import ConfigurationError
from airflow_ml.hooks import store as store_hook
from airflow_ml.plugin.views.board import Boards
from airflow_ml.plugin.views.progress import ShardReader, ToldBy
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.plugin.views.traces import Traces

#: The store is opened anew after so long: credentials may have changed, and copies of large files go with it.
_SECONDS = 600.0


class Place:
    """Store, namespace and this process's memory of them.

    Args:
        told: What running shards tell of themselves.
    """

    def __init__(self, told: ToldBy | None = None) -> None:
        self.boards = Boards(ShardReader(told))
        self.traces = Traces()
        self._lock = threading.Lock()
        self._shelf: Shelf | None = None
        self._opened_at = 0.0
        self._key: tuple[str, str] | None = None

    def shelf(self) -> Shelf:
        """Return the runs of the deployment's store and namespace. May block: call it in a thread.

        Raises:
            ConfigurationError: no store is configured, its folder is not here, or it cannot be opened.
        """
        key = (store_hook.store_uri(), store_hook.namespace())
        with self._lock:
            if self._shelf is None or self._key != key or time.monotonic() - self._opened_at > _SECONDS:
                _check_there(key[0])
                self._shelf = Shelf(store_hook.artifact_store(), key[1])
                self._opened_at, self._key = time.monotonic(), key
            return self._shelf

    def read_ahead(self) -> None:
        """Open the store and read the newest runs, which every list is made of. May block: call it in a thread.

        Raises:
            ConfigurationError: no store is configured, or it cannot be opened.
        """
        shelf = self.shelf()
        for _ in shelf.summaries(shelf.all_heads(lambda _: True)):
            pass


def _check_there(uri: str) -> None:
    """Refuse a folder without a store: to open it would make one, in which nothing was ever recorded."""
    parts = urlsplit(uri)
    folder = Path(unquote(parts.path) if parts.scheme == "file" else uri)
    if not folder.is_absolute() or (folder / "refs").is_dir():
        return
    raise ConfigurationError(
        "There is no artifact store in the folder that this API server sees",
        uri,
        "The first task that writes makes it; where tasks have run, mount their folder here.",
    )
