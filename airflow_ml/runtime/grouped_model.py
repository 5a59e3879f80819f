"""One model made of many: a model for each group, and a pooled one for groups that training never saw.

The manifest is a JSON artifact::

    {"by": "origin",                      # the column that chooses the member, or null for a single model
     "features": ["carrier", ...],        # the columns a member sees, in this order
     "categories": {"carrier": [...]},    # the fixed values of each text feature; may be absent where there is none
     "members": {"EWR": {"params": {...}, "trial": "...", "value": 0.14, "rows": 39000, "model": {Artifact}}},
     "pooled": {...} or null}

The same class serves batch scoring, the gateway and MLflow: a model directory written by ``write_model_dir`` names this
module as its loader, so ``mlflow.pyfunc.load_model(...).predict(frame)`` is ``GroupedModel.predict(frame)``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.fingerprint import ALGORITHM, canonical_json
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.errors import ArtifactCorrupt, ColumnMissing, EmptyDataset, ModelNotServable, NotARecord
from airflow_ml.runtime.codec_sklearn import BOOSTING_LIBRARIES
from airflow_ml.runtime.codecs import read_file
from airflow_ml.runtime.estimator_scores import check_servable, own_columns, scores_of
from airflow_ml.runtime.plain_estimators import plain_estimator

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from airflow_ml.core.features import FeatureSet

MANIFEST_NAME = "manifest.json"


class Member(NamedTuple):
    """One of the models."""

    model: Any
    #: Its double over arrays, where it has one.
    plain: Any | None
    #: The features that it was fitted on, where they are not all in their order.
    columns: list[str] | None

    def scores(self, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
        """Return its answers to rows that have all features."""
        return scores_of(self.model, rows if self.columns is None else rows[self.columns])


class GroupedModel:
    """Members by group, and the pooled member.

    Args:
        manifest: The parsed manifest.
        read: Returns the model of an artifact, verified.

    Raises:
        NotARecord: the manifest lacks a part.
        ModelNotServable: a member has no predict.
    """

    def __init__(self, manifest: Mapping[str, Any], read: Callable[[Artifact], Any]) -> None:
        #: The columns that ``predict`` reads: the features, and ``by`` where it is none of them.
        self.columns = _columns(manifest)
        self.by: str | None = manifest["by"]
        self.features: tuple[str, ...] = tuple(manifest["features"])
        self.categories: Mapping[str, Sequence[str]] = dict(manifest.get("categories") or {})
        self.manifest = manifest
        loaded: dict[str, Member] = {}

        def member(entry: Mapping[str, Any]) -> Member:
            artifact = Artifact.from_dict(entry["model"])
            if artifact.digest not in loaded:
                model = check_servable(read(artifact))
                plain = None if self.categories else plain_estimator(model, self.features)
                loaded[artifact.digest] = Member(model, plain, own_columns(model, self.features))
            return loaded[artifact.digest]

        self._members = {str(group): member(entry) for group, entry in manifest["members"].items()}
        self._pooled = member(manifest["pooled"]) if manifest["pooled"] else None
        if not self._members and self._pooled is None:
            raise ModelNotServable("The manifest holds no model", "", "Pass the output of select_model.")

    @classmethod
    def load(cls, store: ArtifactStore, manifest: Artifact) -> GroupedModel:
        """Read a manifest and its models from the store.

        Raises:
            ArtifactNotFound, ArtifactCorrupt, NoCodec: as reading does.
        """
        return cls.of(json.loads(store.get_bytes(manifest)), store)

    @classmethod
    def of(cls, manifest: Mapping[str, Any], store: ArtifactStore) -> GroupedModel:
        """Return the model of a manifest, or of the manifest's artifact in wire form.

        A call's arguments that are artifacts arrive as their values, so a manifest may be either; raises as ``load``.
        """
        if manifest.get("record") == "Artifact":
            return cls.load(store, Artifact.from_dict(manifest))
        return cls(manifest, lambda artifact: read_file(artifact, store.path(artifact)))

    def predict(self, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
        """Return one number per row, in the order of the rows.

        The probability of the positive class where the row's member has ``predict_proba``, else what it predicts. A
        group that is null or was never trained on goes to the pooled model.

        Args:
            frame: With the features, and the column ``by``; others are ignored.

        Returns:
            float64, shape ``(len(frame),)``.

        Raises:
            ColumnMissing: a feature or ``by`` is absent.
            ModelNotServable: a group has no member and there is no pooled model, or a member answers in another shape.
        """
        _check_columns(frame, self.columns)
        # The values a member was trained on are fixed before rows are divided: a division must not change them.
        matrix = self._matrix(frame)
        return self._predict(
            len(matrix),
            None if self.by is None else frame[self.by],
            lambda member, rows: member.scores(matrix if rows is None else matrix.iloc[rows]),
        )

    def predict_numbers(self, values: np.ndarray[Any, Any], by: Sequence[Any] | None = None) -> np.ndarray[Any, Any]:
        """Return what ``predict`` does, for features that are all numbers: without the cost of looking at each column.

        Args:
            values: float64, shape ``(rows, features)``, NaN for null.
            by: The column of that name, if the model has one.
        """
        import pandas as pd

        def score(member: Member, rows: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
            part = values if rows is None else values[rows]
            if member.plain is not None:
                return scores_of(member.plain, part)
            return member.scores(pd.DataFrame(part, columns=self._index))

        return self._predict(len(values), None if by is None else pd.Series(by), score)

    def _predict(
        self,
        count: int,
        by: pd.Series[Any] | None,
        score: Callable[[Member, np.ndarray[Any, Any] | None], np.ndarray[Any, Any]],
    ) -> np.ndarray[Any, Any]:
        """Return the scores of so many rows; ``score`` gets a member with its rows, None for all."""
        import numpy as np

        scores = np.full(count, np.nan, dtype=np.float64)
        if count == 0:
            return scores
        parts = self._assign(count, by)
        for member, rows in parts:
            scores[rows] = score(member, None if len(parts) == 1 else rows)
        return scores

    @cached_property
    def _index(self) -> pd.Index[Any]:
        import pandas as pd

        return pd.Index(list(self.features))

    def _matrix(self, frame: pd.DataFrame) -> pd.DataFrame:
        from airflow_ml.runtime.data import frame_for_model

        return frame_for_model(frame, list(self.features), self.categories)

    def _assign(self, rows: int, by: pd.Series[Any] | None) -> list[tuple[Member, np.ndarray[Any, Any]]]:
        """Return each member that answers with the positions of its rows."""
        import numpy as np
        import pandas as pd

        if by is None:
            return [(self._pooled or next(iter(self._members.values())), np.arange(rows))]
        codes, values = pd.factorize(by)
        # Null has the code -1 and takes the last place; the pooled model's number is -1 as well.
        numbers = {group: number for number, group in enumerate(self._members)}
        place = np.array([*(numbers.get(group_name(value), -1) for value in values), -1], dtype=np.int64)
        chosen = place[codes]
        if self._pooled is None and bool((chosen < 0).any()):
            unknown = sorted({repr(value) for value in by[chosen < 0].unique().tolist()})
            raise ModelNotServable(
                f"No model for these values of {self.by}, and no pooled model",
                ", ".join(unknown[:10]),
                f"Groups of this model are {', '.join(sorted(self._members)[:20])}; select with a pooled model.",
            )
        models = [*self._members.values(), self._pooled]
        return [(models[number], np.flatnonzero(chosen == number)) for number in np.unique(chosen).tolist()]


def group_name(value: object) -> str:
    """Return a group's name as the sweep wrote it: the value cast to text, whatever pandas made of its type.

    A column of integers with a null is one of floats in pandas, so ``3.0`` is the group ``"3"``; booleans are in lower
    case as Arrow casts them.
    """
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def write_model_dir(
    store: ArtifactStore, manifest: Artifact, features: FeatureSet, into: Path, example: pd.DataFrame
) -> Path:
    """Write a self-contained MLflow model directory and return it.

    No model is loaded: their files are copied as bytes, verified. So a process with connections may call it.

    Args:
        store: Holds the manifest and the models.
        manifest: ``Selection.models``.
        features: The feature set that the models were trained on; its column types make the signature.
        into: The directory; must not exist.
        example: A few rows (at most 20 are kept) with the features; stored as the input example. Where it lacks the
            column ``by``, the first group's name stands in.

    Raises:
        ColumnMissing: the example lacks a feature.
        EmptyDataset: the example has no rows.
        MissingDependency: mlflow is not installed.
    """
    from airflow_ml.runtime.model_signature import save_pyfunc

    content: Mapping[str, Any] = json.loads(store.get_bytes(manifest))
    columns = _columns(content)
    if len(example) == 0:
        raise EmptyDataset("The input example has no rows", 0, "Give a few rows of the training data.")
    by = content["by"]
    if by and by not in example.columns:
        example = example.assign(**{by: next(iter(content["members"]), "")})
    _check_columns(example, columns)
    with tempfile.TemporaryDirectory(prefix="airflow-ml-") as scratch:
        data = Path(scratch) / "data"
        data.mkdir()
        (data / MANIFEST_NAME).write_bytes(canonical_json(dict(content)))
        libraries: dict[str, str] = {}
        for entry in _entries(content):
            artifact = Artifact.from_dict(entry["model"])
            libraries |= {name: artifact.metadata[name] for name in BOOSTING_LIBRARIES if name in artifact.metadata}
            shutil.copyfile(store.path(artifact), data / _file_name(artifact))
        save_pyfunc(
            into,
            data=data,
            loader=__name__,
            example=example[list(columns)].head(20),
            features=features,
            rows=store.path(features.artifact),
            libraries=libraries,
        )
    return into


def _load_pyfunc(data_path: str) -> GroupedModel:
    """MLflow's entry point: read the directory that ``write_model_dir`` wrote, checking each file's digest."""
    folder = Path(data_path)

    def read(artifact: Artifact) -> Any:
        path = folder / _file_name(artifact)
        found = f"{ALGORITHM}:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        if found != artifact.digest:
            raise ArtifactCorrupt(
                f"The model file {path.name} is not what the manifest says", found, "Download the version again."
            )
        return read_file(artifact, path)

    return GroupedModel(json.loads((folder / MANIFEST_NAME).read_bytes()), read)


def _columns(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns that the models of a manifest read.

    Raises:
        NotARecord: the manifest lacks a part.
    """
    missing = {"by", "features", "members", "pooled"} - set(manifest)
    if missing:
        raise NotARecord("Not a manifest of models; it lacks", sorted(missing), "Pass the output of select_model.")
    return tuple(dict.fromkeys([*manifest["features"], *([manifest["by"]] if manifest["by"] else [])]))


def _check_columns(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ColumnMissing(
            "The rows to score lack columns of the model", missing, "Build them with the model's own feature view."
        )


def _entries(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*manifest["members"].values(), *([manifest["pooled"]] if manifest["pooled"] else [])]


def _file_name(artifact: Artifact) -> str:
    return f"{artifact.digest.partition(':')[2]}.{artifact.format}"
