"""What runs beside user code, in a worker, a clean interpreter, a pod or a Batch job, and on a laptop. No Airflow.

Where to find what:

    capture of code      capture source_file definitions constants bundle load code_state zipapp
    environment          environment environment_cache locked_environment cpus memory preload
    values               values codecs codec_plain codec_table codec_tensors codec_sklearn trusted_pickle directory rows
    calls                call calls call_results context checkpoint work ref_append
    the runner           runner runner_process processes pool worker output
    remote jobs          remote_job remote_results far_side job_reap compute_profiles probe host_facts
    data of a model      data part holdout quarantine live_rows
    sweeps: plan         sweep_plan low_discrepancy optuna_parts warm_start
    sweeps: trials       job shard trial study sequence ledger storm kept_models shard_progress plain_estimators
    sweeps: results      leaderboard open_leaderboard sweep_pictures refit
    models               grouped_model estimator_scores model_signature evaluate score drift
    rollouts             rollout rollout_lead rollout_acts rollout_traffic rollout_evidence rollout_history
                         rollout_reconcile callable_metrics
    reproduction         reproduce recorded_trial repeat_trial debug notebook table_diff
    store maintenance    store_check store_gc store_reach
    installation         installation
"""
