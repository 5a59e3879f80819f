"""The eight stages as frozen records and pure functions: standard library only, no clock, no I/O.

Where to find what:

    records              record artifact fingerprint strict_fields ports
    provenance           provenance lineage lineage_picture run_diff comparison cache_cause code_text secret_scan
    the store            store_keeping
    arguments            argument_rules direction duration spelling severity sql
    1 snapshot           snapshot
    2 gate               gate expectation model_checks check_options scored_holdout metrics bootstrap
    3 features           features feature_view feature_inputs feature_names feature_sql feature_dialect source_rows
                         split_sql time_split
    4 sweep              sweep space point sampler trials shards sweep_status pareto
    5 selection          selection
    6 registration       registration aliases
    7 canary: record     canary arms rollout_state rollout_change rollout_human rollout_look rollout_readings
                         rollout_report rollout_picture
    7 canary: plan       rollout_plan plan_check guardrail rollout_forecast
    7 canary: decision   rollout_decision arm_evidence assessment guardrail_look rollout_soundness step_progress
    7 canary: statistics statistics mixture paired cuped unit_scores multiplicity sample_ratio level
    7 canary: sources    metric_query metric_sql metric_series variant_sql exposures served_name
    8 monitoring         monitoring drift
    calls and jobs       call job job_attempt job_log job_names log_tail far_side failure failure_table variables
    compute profiles     compute compute_choice kubernetes_options batch_options finding policies
    Kubernetes           indexed_job pod_template pod_security pod_failure node_fit kueue
    AWS Batch            batch_request batch_failure
    tests                failpoint
"""
