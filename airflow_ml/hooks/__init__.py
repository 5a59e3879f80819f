"""From Airflow connections and configuration to adapters. Extras are read by name, never forwarded whole."""
