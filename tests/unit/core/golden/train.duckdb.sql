WITH "__spine" AS (
  SELECT
    "t"."flight_id" AS "flight_id",
    CAST("t"."predict_at" AS TIMESTAMP) AS "predict_at",
    CAST("t"."predict_at" AS TIMESTAMP) AS "__at",
    "t"."late" AS "late",
    CASE
      WHEN CAST("t"."landed_at" AS TIMESTAMP) IS NULL OR CAST("t"."landed_at" AS TIMESTAMP) > CAST('2013-04-01 00:00:00.000000' AS TIMESTAMP) THEN 'no label yet'
      WHEN "t"."late" IS NULL THEN 'no label'
      WHEN CAST("t"."predict_at" AS TIMESTAMP) >= CAST('2013-04-01 00:00:00.000000' AS TIMESTAMP) THEN 'predicted after as_of'
      WHEN CAST("t"."predict_at" AS TIMESTAMP) >= CAST('2013-03-18 00:00:00.000000' AS TIMESTAMP) THEN 'test'
      WHEN CAST("t"."predict_at" AS TIMESTAMP) >= CAST('2013-03-04 00:00:00.000000' AS TIMESTAMP) AND CAST("t"."landed_at" AS TIMESTAMP) <= CAST('2013-03-18 00:00:00.000000' AS TIMESTAMP) THEN 'validate'
      WHEN CAST("t"."predict_at" AS TIMESTAMP) < CAST('2013-03-04 00:00:00.000000' AS TIMESTAMP) AND CAST("t"."landed_at" AS TIMESTAMP) <= CAST('2013-03-04 00:00:00.000000' AS TIMESTAMP) THEN 'train'
      ELSE 'label known after the cut'
    END AS "split",
    "t"."tailnum" AS "tailnum",
    "t"."carrier" AS "carrier",
    "t"."origin" AS "origin",
    "t"."dest" AS "dest",
    "t"."gate" AS "gate",
    "t"."origin" AS "__by_origin",
    "t"."tailnum" AS "__by_tailnum",
    "t"."dest" AS "__by_dest",
    "t"."carrier" AS "__by_carrier",
    CAST("t"."predict_at" AS TIMESTAMP) + TO_MICROSECONDS(-604800000000) AS "__back_604800000000",
    CAST("t"."predict_at" AS TIMESTAMP) + TO_MICROSECONDS(-86400000000) AS "__back_86400000000"
  FROM "flights" AS "t"
),
"__j0" AS (
  SELECT
    "t"."origin" AS "__by_origin",
    CAST("t"."observed_at" AS TIMESTAMP) AS "__time",
    CAST("t"."observed_at" AS TIMESTAMP) + TO_MICROSECONDS(1200000000) AS "__known",
    "t"."temp" AS "__value_temp",
    "t"."visib" AS "__value_visib"
  FROM "ops.public.weather" AS "t"
  WHERE CAST("t"."observed_at" AS TIMESTAMP) + TO_MICROSECONDS(1200000000) <= CAST('2013-04-01 00:00:00.000000' AS TIMESTAMP)
  QUALIFY ROW_NUMBER() OVER (PARTITION BY "t"."origin", CAST("t"."observed_at" AS TIMESTAMP) ORDER BY "t"."temp" DESC NULLS LAST, "t"."visib" DESC NULLS LAST) = 1
),
"__j1" AS (
  SELECT
    "t"."tailnum" AS "__by_tailnum",
    "t"."seats" AS "__value_seats"
  FROM "planes" AS "t"
  QUALIFY ROW_NUMBER() OVER (PARTITION BY "t"."tailnum" ORDER BY "t"."seats" DESC NULLS LAST) = 1
),
"__r0" AS (
  SELECT
    "m"."__by_origin",
    "m"."__by_dest",
    "m"."__known",
    SUM("m"."__rows") OVER (PARTITION BY "m"."__by_origin", "m"."__by_dest" ORDER BY "m"."__known" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS "__rows",
    SUM("m"."__n_late") OVER (PARTITION BY "m"."__by_origin", "m"."__by_dest" ORDER BY "m"."__known" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS "__n_late",
    SUM("m"."__sum_late") OVER (PARTITION BY "m"."__by_origin", "m"."__by_dest" ORDER BY "m"."__known" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS "__sum_late"
  FROM (
    SELECT
      "t"."origin" AS "__by_origin",
      "t"."dest" AS "__by_dest",
      CAST("t"."landed_at" AS TIMESTAMP) AS "__known",
      COUNT(*) AS "__rows",
      COUNT(TRY_CAST("t"."late" AS DECIMAL(38, 12))) AS "__n_late",
      COALESCE(SUM(TRY_CAST("t"."late" AS DECIMAL(38, 12))), 0) AS "__sum_late"
    FROM "flights" AS "t"
    WHERE CAST("t"."landed_at" AS TIMESTAMP) <= CAST('2013-04-01 00:00:00.000000' AS TIMESTAMP)
    GROUP BY "t"."origin", "t"."dest", CAST("t"."landed_at" AS TIMESTAMP)
  ) AS "m"
),
"__r1" AS (
  SELECT
    "m"."__by_carrier",
    "m"."__known",
    SUM("m"."__rows") OVER (PARTITION BY "m"."__by_carrier" ORDER BY "m"."__known" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS "__rows",
    SUM("m"."__n_dep_delay") OVER (PARTITION BY "m"."__by_carrier" ORDER BY "m"."__known" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS "__n_dep_delay",
    SUM("m"."__sum_dep_delay") OVER (PARTITION BY "m"."__by_carrier" ORDER BY "m"."__known" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS "__sum_dep_delay"
  FROM (
    SELECT
      "t"."carrier" AS "__by_carrier",
      CAST("t"."landed_at" AS TIMESTAMP) AS "__known",
      COUNT(*) AS "__rows",
      COUNT(TRY_CAST("t"."dep_delay" AS DECIMAL(38, 12))) AS "__n_dep_delay",
      COALESCE(SUM(TRY_CAST("t"."dep_delay" AS DECIMAL(38, 12))), 0) AS "__sum_dep_delay"
    FROM "flights" AS "t"
    WHERE CAST("t"."landed_at" AS TIMESTAMP) <= CAST('2013-04-01 00:00:00.000000' AS TIMESTAMP)
    GROUP BY "t"."carrier", CAST("t"."landed_at" AS TIMESTAMP)
  ) AS "m"
)
SELECT
  "s"."flight_id",
  "s"."predict_at",
  "s"."late",
  "s"."split",
  "s"."tailnum",
  "s"."carrier" AS "carrier",
  "s"."origin" AS "origin",
  "s"."dest" AS "dest",
  "s"."gate" AS "gate",
  CASE WHEN "j0"."__time" >= "s"."__at" + TO_MICROSECONDS(-10800000000) THEN "j0"."__value_temp" END AS "temp",
  CASE WHEN "j0"."__time" >= "s"."__at" + TO_MICROSECONDS(-10800000000) THEN "j0"."__value_visib" END AS "visib",
  "j1"."__value_seats" AS "seats",
  CASE WHEN (COALESCE("r0_now"."__n_late", 0) - COALESCE("r0_604800000000"."__n_late", 0)) > 0 THEN CAST((COALESCE("r0_now"."__sum_late", 0) - COALESCE("r0_604800000000"."__sum_late", 0)) AS DOUBLE) / (COALESCE("r0_now"."__n_late", 0) - COALESCE("r0_604800000000"."__n_late", 0)) END AS "late_mean_7d_by_origin_dest",
  CAST((COALESCE("r0_now"."__rows", 0) - COALESCE("r0_86400000000"."__rows", 0)) AS BIGINT) AS "flights_count_1d_by_origin_dest",
  CAST((COALESCE("r1_now"."__sum_dep_delay", 0) - COALESCE("r1_604800000000"."__sum_dep_delay", 0)) AS DOUBLE) AS "dep_delay_sum_7d_by_carrier"
FROM "__spine" AS "s"
ASOF LEFT JOIN "__j0" AS "j0"
  ON "s"."__by_origin" = "j0"."__by_origin" AND "s"."__at" >= "j0"."__known"
LEFT JOIN "__j1" AS "j1"
  ON "s"."__by_tailnum" = "j1"."__by_tailnum"
ASOF LEFT JOIN "__r0" AS "r0_now"
  ON "s"."__by_origin" = "r0_now"."__by_origin" AND "s"."__by_dest" = "r0_now"."__by_dest" AND "s"."__at" >= "r0_now"."__known"
ASOF LEFT JOIN "__r0" AS "r0_604800000000"
  ON "s"."__by_origin" = "r0_604800000000"."__by_origin" AND "s"."__by_dest" = "r0_604800000000"."__by_dest" AND "s"."__back_604800000000" >= "r0_604800000000"."__known"
ASOF LEFT JOIN "__r0" AS "r0_86400000000"
  ON "s"."__by_origin" = "r0_86400000000"."__by_origin" AND "s"."__by_dest" = "r0_86400000000"."__by_dest" AND "s"."__back_86400000000" >= "r0_86400000000"."__known"
ASOF LEFT JOIN "__r1" AS "r1_now"
  ON "s"."__by_carrier" = "r1_now"."__by_carrier" AND "s"."__at" >= "r1_now"."__known"
ASOF LEFT JOIN "__r1" AS "r1_604800000000"
  ON "s"."__by_carrier" = "r1_604800000000"."__by_carrier" AND "s"."__back_604800000000" >= "r1_604800000000"."__known"
WHERE "s"."split" IN ('train', 'validate', 'test')
