"""What the pages show: functions from the store's records to plain JSON, shaped as ``www/src/api/types.ts`` says.

They read records and the values of Parquet files; no model is ever loaded, and nothing is written.
"""
