"""Machine learning on the Airflow you already run."""

__version__ = "0.1.0"
