-- Every flight whose outcome was known at as_of, one row each.
SELECT flight_id, carrier, flight, origin, dest, tailnum, distance, sched_minute, DAYOFWEEKISO(sched_dep_at) AS sched_weekday, sched_dep_at, predict_at,
       dep_delay, departed_at, arr_delay, late, cancelled, landed_at
FROM flights {at}
WHERE known_at <= %(as_of)s
