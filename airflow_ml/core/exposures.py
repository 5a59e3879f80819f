"""The tables in which batch scoring says who was scored by what, for the metric of a rollout."""

from __future__ import annotations

#: Who was scored by what, and what names a row of it.
EXPOSURES_TABLE, EXPOSURE_KEY = "AIRFLOW_ML_EXPOSURES", ("model", "epoch", "key")
#: What challengers said in shadow, and what names a row of it.
SHADOW_TABLE, SHADOW_KEY = "AIRFLOW_ML_SHADOW_SCORES", ("model", "epoch", "key", "arm")
