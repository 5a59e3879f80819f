SELECT
  COUNT(*) OVER () AS "rows",
  COUNT(*) OVER () - COUNT(CAST("t"."gate_set_at" AS TIMESTAMP)) OVER () AS "nulls",
  "t"."flight_id" AS "key",
  CAST("t"."predict_at" AS TIMESTAMP) AS "predict_at",
  CAST("t"."gate_set_at" AS TIMESTAMP) AS "known_at"
FROM "flights" AS "t"
WHERE CAST("t"."gate_set_at" AS TIMESTAMP) IS NULL OR CAST("t"."gate_set_at" AS TIMESTAMP) > CAST("t"."predict_at" AS TIMESTAMP)
ORDER BY DATEDIFF('microsecond', CAST("t"."predict_at" AS TIMESTAMP), CAST("t"."gate_set_at" AS TIMESTAMP)) DESC NULLS LAST, CAST("t"."predict_at" AS TIMESTAMP), "t"."flight_id"
LIMIT 1
