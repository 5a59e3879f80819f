"""AWS Batch for tests: moto's server, with jobs that run as processes of this machine."""

from airflow_ml.testing.batch.double import BatchDouble, batch_double
from airflow_ml.testing.batch.faults import Faults

__all__ = ["BatchDouble", "Faults", "batch_double"]
