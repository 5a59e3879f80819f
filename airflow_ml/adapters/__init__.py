"""One outside system per file, behind the ports of ``core/ports.py``; its library is imported inside functions.

Where to find what:

    artifact store       object_store folder_store folder_files folder_refs folder_trash s3_store s3_objects s3_trash
                         local_copies ref_entry
    warehouse            snowflake snowflake_arrow snowflake_errors snowflake_features upsert warehouse_router
                         sql_metrics
    features             duckdb duckdb_checks duckdb_output
    gate                 great_expectations expectation_suite
    model registry       mlflow mlflow_session mlflow_runs mlflow_limits mlflow_sweep namespaced_registry registration
    traffic and metrics  gateway gateway_http prometheus
    Kubernetes           kubernetes kubernetes_api kubernetes_connection kubernetes_pods kubernetes_reasons
                         kubernetes_capacity kubernetes_kueue kubernetes_doctor
    AWS Batch            batch batch_api batch_connection batch_doctor
    shared by these      patience kept_answers
"""
