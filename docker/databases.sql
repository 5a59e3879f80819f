-- Run once by the postgres image, on an empty volume; it makes the database "airflow" itself.
CREATE DATABASE mlflow;
