"""The local gateway: serves a champion and a challenger of each model, divided by a sticky hash.

``wire`` and ``split`` need the standard library only, so that both ends of the connection share them; the server itself
(``python -m airflow_ml.gateway``) needs the extra ``gateway``.
"""
