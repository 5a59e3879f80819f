"""The codec of scikit-learn estimators, and of LightGBM's and XGBoost's models: skops, which never unpickles.

skops rebuilds objects from a list of trusted types. It trusts estimators, dtypes and ufuncs on its own. This codec
trusts, beside them, what fitted estimators of scikit-learn are made of: classes defined in sklearn, numpy and scipy,
and functions of the few modules that estimators keep as attributes. A booster is its library's own text or bytes,
read by the library's own parser. Anything else is refused with its name, when a model is stored (so a sweep learns of
it at once) and again when one is loaded. Model files are read only from our own store, by digest; this list is the
second lock.
"""

from __future__ import annotations

import importlib
import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.errors import MissingDependency, NoCodec
from airflow_ml.runtime.codecs import Codec, Written, home_modules

#: Prefixes of modules whose own classes are trusted.
_CLASS_MODULES = ("sklearn.", "scipy.sparse.", "scipy.interpolate.", "scipy.stats.")
#: Prefixes below them that are for tests and downloads, not for models.
_NEVER = ("sklearn.utils._testing", "sklearn.datasets", "sklearn.externals", "sklearn.conftest", "sklearn._build_utils")
#: Prefixes of modules whose own functions are trusted: scores and checks that estimators hold as attributes.
_FUNCTION_MODULES = (
    "sklearn.cluster._kmeans.",
    "sklearn.feature_selection.",
    "sklearn.metrics.",
    "sklearn.utils.validation.",
)
#: Single names. ``functools.partial`` is safe as what it wraps is checked in its turn.
_NAMES = frozenset(
    {
        "functools.partial",
        "numpy.dtype",
        "numpy.mean",
        "numpy.median",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
    }
)
#: Libraries whose models are stored as well; an artifact's metadata has the version of each that it needs.
BOOSTING_LIBRARIES = ("lightgbm", "xgboost")
#: Models of two libraries that keep to scikit-learn's interface, and what they hold.
_BOOSTED = frozenset(
    {
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        *(f"lightgbm.sklearn.LGBM{kind}" for kind in ("Classifier", "Ranker", "Regressor")),
        "xgboost.core.Booster",
        *(f"xgboost.sklearn.XGB{kind}" for kind in ("Classifier", "Ranker", "Regressor")),
        *(f"xgboost.sklearn.XGBRF{kind}" for kind in ("Classifier", "Regressor")),
    }
)
#: The first moment that a zip file can name: the bytes must not depend on the hour.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def is_trusted(name: str) -> bool:
    """Tell whether a type that skops does not trust by itself may be part of a model.

    Args:
        name: As ``skops.io.get_untrusted_types`` gives it: module and name, joined by a dot.
    """
    if name in _NAMES | _BOOSTED:
        return True
    module, _, attribute = name.rpartition(".")
    if name.startswith(_NEVER) or not name.startswith((*_CLASS_MODULES, *_FUNCTION_MODULES)):
        return False
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        return False
    # A name that a module merely imported from elsewhere is judged by where it was defined.
    home = f"{getattr(found, '__module__', '')}."
    if home.startswith(_NEVER):
        return False
    return home.startswith(_CLASS_MODULES) if isinstance(found, type) else home.startswith(_FUNCTION_MODULES)


def _write(value: object, path: Path) -> Written:
    skops_io = _skops()
    try:
        data: bytes = skops_io.dumps(value)
    except Exception as error:  # whatever an attribute raises while it is taken apart
        raise NoCodec(
            "skops cannot store this estimator",
            f"{_type_name(value)}: {type(error).__name__}: {str(error)[:300]}",
            "Keep to attributes of scikit-learn, numpy and plain Python, or register a codec for it.",
        ) from error
    used = {name.partition(".")[0] for name in _check(skops_io, data, _type_name(value))}
    path.write_bytes(_canonical(data))
    versions = {
        name: str(importlib.import_module(name).__version__)
        for name in ("sklearn", *(library for library in BOOSTING_LIBRARIES if library in used))
    }
    return Written(metadata={"type": _type_name(value), **versions})


def _read(path: Path, artifact: Artifact) -> Any:
    skops_io = _skops()
    data = path.read_bytes()
    try:
        trusted = _check(skops_io, data, artifact.metadata.get("type", artifact.digest))
        return skops_io.loads(data, trusted=trusted)
    except NoCodec:
        raise
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        raise MissingDependency(
            "The model needs a package that is not installed here",
            f"{library}, which wrote it as version {artifact.metadata.get(library, 'unknown')}",
            "Install it wherever models are read: on workers and at the gateway.",
        ) from error
    except Exception as error:  # a damaged or hostile file may fail in any way
        raise NoCodec(
            "skops cannot read this model",
            f"{artifact.digest}: {type(error).__name__}: {str(error)[:300]}",
            f"It was written with scikit-learn {artifact.metadata.get('sklearn', 'unknown')}; use that version here.",
        ) from error


def _check(skops_io: Any, data: bytes, subject: str) -> list[str]:
    """Return the further types to trust.

    Raises:
        NoCodec: naming the types that are not on the list.
    """
    untrusted: list[str] = skops_io.get_untrusted_types(data=data)
    if refused := sorted(name for name in untrusted if not is_trusted(name)):
        raise NoCodec(
            f"The model ({subject}) is made of types that are not trusted",
            ", ".join(refused[:10]),
            "Build it from classes and functions of scikit-learn, LightGBM or XGBoost, or register a codec for it.",
        )
    return untrusted


def _canonical(data: bytes) -> bytes:
    """Return a skops file with numbers instead of memory addresses, and no times: the same model, the same bytes."""
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}

    def clean(node: Any) -> Any:
        if isinstance(node, list):
            return [clean(item) for item in node]
        if not isinstance(node, dict):
            return node
        result: dict[str, Any] = {}
        for key, item in node.items():
            if key == "__id__" and isinstance(item, int):
                result[key] = numbers.setdefault(item, len(numbers) + 1)
            elif key == "file" and isinstance(item, str) and item in members:
                result[key] = names.setdefault(item, f"{len(names) + 1}{Path(item).suffix}")
            else:
                result[key] = clean(item)
        return result

    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as out:
        members = set(source.namelist()) - {"schema.json"}
        schema = json.dumps(clean(json.loads(source.read("schema.json"))), separators=(",", ":")).encode()
        for old, new in sorted(names.items(), key=lambda pair: pair[1]):
            out.writestr(zipfile.ZipInfo(new, _ZIP_EPOCH), source.read(old), zipfile.ZIP_DEFLATED)
        out.writestr(zipfile.ZipInfo("schema.json", _ZIP_EPOCH), schema, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _skops() -> Any:
    try:
        # Its import asks every loaded module for a name, and Airflow's modules answer with a deprecation each.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import skops.io
    except ImportError as error:
        raise MissingDependency(
            "Models of scikit-learn are stored with skops", str(error), "Install airflow-ml[mlflow]."
        ) from error
    return skops.io


CODEC = Codec(
    name="sklearn",
    format="skops",
    handles=lambda value: (
        not isinstance(value, type) and not home_modules(value).isdisjoint({"sklearn", *BOOSTING_LIBRARIES})
    ),
    write=_write,
    read=_read,
)
