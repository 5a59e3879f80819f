SELECT "s"."split", COUNT(*) AS "rows"
FROM (
  SELECT CASE
    WHEN CAST("t"."landed_at" AS TIMESTAMP) IS NULL OR CAST("t"."landed_at" AS TIMESTAMP) > CAST('2013-04-01 00:00:00.000000' AS TIMESTAMP) THEN 'no label yet'
    WHEN "t"."late" IS NULL THEN 'no label'
    WHEN CAST("t"."predict_at" AS TIMESTAMP) >= CAST('2013-04-01 00:00:00.000000' AS TIMESTAMP) THEN 'predicted after as_of'
    WHEN CAST("t"."predict_at" AS TIMESTAMP) >= CAST('2013-03-18 00:00:00.000000' AS TIMESTAMP) THEN 'test'
    WHEN CAST("t"."predict_at" AS TIMESTAMP) >= CAST('2013-03-04 00:00:00.000000' AS TIMESTAMP) AND CAST("t"."landed_at" AS TIMESTAMP) <= CAST('2013-03-18 00:00:00.000000' AS TIMESTAMP) THEN 'validate'
    WHEN CAST("t"."predict_at" AS TIMESTAMP) < CAST('2013-03-04 00:00:00.000000' AS TIMESTAMP) AND CAST("t"."landed_at" AS TIMESTAMP) <= CAST('2013-03-04 00:00:00.000000' AS TIMESTAMP) THEN 'train'
    ELSE 'label known after the cut'
  END AS "split"
  FROM "flights" AS "t"
) AS "s"
GROUP BY "s"."split"
ORDER BY 1
