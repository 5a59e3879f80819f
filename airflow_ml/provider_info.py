"""What Airflow's provider discovery reads. A plain dict: it is loaded while Airflow's configuration is being built."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata (schema: airflow/provider_info.schema.json)."""
    return {
        "package-name": "airflow-ml",
        "name": "Machine learning",
        "description": "Versioned data, sweeps, gates, registration, canaries and monitoring on your Airflow.",
        "integrations": [
            {
                "integration-name": "airflow_ml",
                "tags": ["software"],
            }
        ],
        "operators": [{"integration-name": "airflow_ml", "python-modules": _OPERATOR_MODULES}],
        "hooks": [
            {
                "integration-name": "airflow_ml",
                "python-modules": ["airflow_ml.hooks.mlflow", "airflow_ml.hooks.gateway"],
            }
        ],
        "triggers": [{"integration-name": "airflow_ml", "python-modules": _TRIGGER_MODULES}],
        "connection-types": [_MLFLOW, _GATEWAY],
        "task-decorators": [
            {"name": "ml", "class-name": "airflow_ml.decorators.ml.ml_task"},
            {"name": "sweep", "class-name": "airflow_ml.decorators.sweep.sweep_task"},
        ],
        "asset-uris": [
            {
                "schemes": ["mlflow"],
                "handler": "airflow_ml.assets.normalize_uri",
                "factory": "airflow_ml.assets.create_asset",
            }
        ],
        "extra-links": [f"airflow_ml.links.{name}" for name in _LINKS],
        "cli": ["airflow_ml.plugin.commands.get_commands"],
        "config": {"ml": _CONFIG},
    }


_LINKS = (
    "ModelVersionLink",
    "TaskPageLink",
    "SweepPageLink",
    "SnapshotPageLink",
    "ModelPageLink",
    "CanaryPageLink",
    "QueryHistoryLink",
)

_OPERATOR_MODULES = [
    "airflow_ml.operators.snapshot",
    "airflow_ml.operators.gate",
    "airflow_ml.operators.gate_model",
    "airflow_ml.operators.features",
    "airflow_ml.operators.sweep",
    "airflow_ml.operators.sweep_shards",
    "airflow_ml.operators.sweep_collect",
    "airflow_ml.operators.selection",
    "airflow_ml.operators.registration",
    "airflow_ml.operators.canary",
    "airflow_ml.operators.rollback",
    "airflow_ml.operators.ab_test",
    "airflow_ml.operators.reconciliation",
    "airflow_ml.operators.prediction",
    "airflow_ml.operators.monitoring",
]

_TRIGGER_MODULES = ["airflow_ml.triggers.canary", "airflow_ml.triggers.rollout_turn"]

_MLFLOW = {
    "connection-type": "mlflow",
    "hook-class-name": "airflow_ml.hooks.mlflow.MLflowHook",
    "hook-name": "MLflow",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "extra"],
        "relabeling": {"host": "Tracking server (URL or host)", "login": "User", "password": "Password or token"},
        "placeholders": {"host": "https://mlflow.example.com"},
    },
    "conn-fields": {
        "experiment": {
            "label": "Experiment",
            "description": "MLflow experiment for the runs; one per DAG when empty.",
            "schema": {"type": ["string", "null"]},
        },
    },
}

_GATEWAY = {
    "connection-type": "airflow_ml_gateway",
    "hook-class-name": "airflow_ml.hooks.gateway.GatewayHook",
    "hook-name": "Model gateway",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login", "extra"],
        "relabeling": {"host": "Gateway (URL or host)", "password": "Control token"},
        "placeholders": {"host": "http://gateway.internal:8000"},
    },
}

_CONFIG: dict[str, Any] = {
    "description": "Machine learning (airflow-ml).",
    "options": {
        "artifact_store": {
            "description": "Where artifacts, results and rollout records live: an absolute folder, file:///folder, or\n"
            "s3://[connection_id@]bucket/prefix. Workers, triggerer and pods must all reach it.\n",
            "version_added": "0.1.0",
            "type": "string",
            "example": "s3://aws_default@my-bucket/airflow-ml",
            "default": "",
        },
        "namespace": {
            "description": "Part of every ref, alias, rollout and cache key. Experiments use a branch's or user's\n"
            "name, so that they never touch production.\n",
            "version_added": "0.1.0",
            "type": "string",
            "example": "prod",
            "default": "prod",
        },
        "compute_profiles": {
            "description": "TOML file with the compute profiles that DAGs name: where calls run, and with what.\n"
            "Where it is empty or there is no such file, every name means the worker's own processes.\n",
            "version_added": "0.1.0",
            "type": "string",
            "example": "/opt/airflow/config/compute.toml",
            "default": "",
        },
        "work_directory": {
            "description": "Folder for temporary files of tasks; the system's own where empty.\n",
            "version_added": "0.1.0",
            "type": "string",
            "example": "/mnt/scratch",
            "default": "",
        },
    },
}
