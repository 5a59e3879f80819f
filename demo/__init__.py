"""The whole line on real flights, in a real Airflow on this machine: ``python -m demo run``."""
