-- The flights to score: those whose moment of prediction lies in the last week before as_of.
SELECT flight_id, carrier, flight, origin, dest, tailnum, distance, sched_minute, DAYOFWEEKISO(sched_dep_at) AS sched_weekday, sched_dep_at, predict_at,
       dep_delay
FROM departures {at}
WHERE predict_at <= %(as_of)s AND predict_at > DATEADD(day, -7, %(as_of)s)
