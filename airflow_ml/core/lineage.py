"""Lineage: from a digest up to everything it was made from, or down to everything that was made from it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from airflow_ml.core.provenance import SUCCEEDED, Handle, Provenance
from airflow_ml.errors import ArtifactNotFound, ConfigurationError

_SHORTEST_PREFIX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One record on the way, and the task that made it."""

    #: Steps from where the question began.
    depth: int
    record: str
    digest: str
    made_by: Provenance


class Lineage:
    """The graph of records and tasks.

    Args:
        attempts: Provenance of any runs; attempts that did not succeed are left out.
    """

    def __init__(self, attempts: Iterable[Provenance]) -> None:
        self._makers: dict[str, tuple[Provenance, Handle]] = {}
        self._takers: dict[str, list[Provenance]] = {}
        for item in sorted(attempts, key=lambda one: one.ended_at):
            if item.outcome != SUCCEEDED:
                continue
            taken = {digest for handle in item.inputs for digest in _digests(handle)}
            for digest in taken:
                self._takers.setdefault(digest, []).append(item)
            for handle in item.outputs:
                for digest in _digests(handle):
                    if digest not in taken:  # what is only passed on has its cause further up
                        self._makers.setdefault(digest, (item, handle))

    def find(self, text: str) -> str:
        """Return the digest that a text names: a digest, its beginning, or a model's name.

        Raises:
            ArtifactNotFound: nothing that a task made is called so.
            ConfigurationError: several digests begin like that.
        """
        model, _, version = text.partition("@")
        models = [
            handle
            for _, handle in self._makers.values()
            if handle.record == "ModelVersion"
            and isinstance(handle.value, dict)
            and handle.value.get("name") == model
            and version in ("", handle.value.get("version"))
        ]
        if models:
            return models[-1].digest
        start = text if text.startswith("sha256:") else f"sha256:{text}"
        known = {*self._makers, *self._takers}
        found = [digest for digest in known if digest.startswith(start)]
        if not found or len(start) < len("sha256:") + _SHORTEST_PREFIX:
            raise ArtifactNotFound(
                "No task in the store made or took such a thing", text,
                "Give a digest, at least its first 8 digits, or a registered model, such as flight_delays or "
                "flight_delays@3.",
            )  # fmt: skip
        if len(found) > 1:
            raise ConfigurationError("Several digests begin like that", ", ".join(sorted(found)[:5]), "Give more.")
        return found[0]

    def up(self, digest: str) -> Iterator[Step]:
        """Yield what made a digest, then what made that, and so on; each record once, nearest first."""
        waiting, seen = deque([(0, digest)]), set()
        while waiting:
            depth, current = waiting.popleft()
            made = self._makers.get(current)
            if made is None or made[1].digest in seen:
                continue
            task, handle = made
            seen.add(handle.digest)
            yield Step(depth=depth, record=handle.record, digest=handle.digest, made_by=task)
            for taken in task.inputs:
                waiting += [(depth + 1, item) for item in self._nearest(taken)]

    def is_whole(self, steps: Iterable[Step]) -> bool:
        """Tell whether the steps of a way up lead to what was made of nothing: no older run can add to them."""
        return all(self._nearest(taken) for step in steps for taken in step.made_by.inputs)

    def unmade(self, steps: Iterable[Step]) -> set[str]:
        """Return what the tasks of a way up took and none of these attempts made."""
        return {
            digest
            for step in steps
            for taken in step.made_by.inputs
            if not self._nearest(taken)
            for digest in _digests(taken)
        }

    def edges(self, steps: Iterable[Step]) -> Iterator[tuple[str, str]]:
        """Yield from which record to which the steps of a way up or down lead, in the direction of the data."""
        known = {step.digest: step for step in steps}
        for step in known.values():
            sources = [item for taken in step.made_by.inputs for item in self._nearest(taken)]
            made = [self._makers[item][1].digest for item in sources if item in self._makers]
            for source in dict.fromkeys(made):
                if source in known and source != step.digest:
                    yield source, step.digest

    def _nearest(self, taken: Handle) -> list[str]:
        """Return what stands for an input: itself, else the records in it that a task returned, else its artifacts.

        A sweep's plan, for example, is pushed aside and not returned; the feature set in it is the cause.
        """
        if taken.digest in self._makers:
            return [taken.digest]
        inside = [item for item in taken.contains.values() if item in self._makers]
        return [item for item in inside if self._makers[item][1].digest == item] or inside

    def down(self, digest: str) -> Iterator[Step]:
        """Yield what was made from a digest, then what was made from that, and so on; each record once."""
        waiting, seen = deque([(0, digest)]), {digest}
        while waiting:
            depth, current = waiting.popleft()
            for task in self._takers.get(current, ()):
                for handle in task.outputs:
                    if handle.digest not in seen:
                        seen.add(handle.digest)
                        yield Step(depth=depth + 1, record=handle.record, digest=handle.digest, made_by=task)
                        waiting.append((depth + 1, handle.digest))


def _digests(handle: Handle) -> Iterator[str]:
    yield handle.digest
    yield from handle.contains.values()
