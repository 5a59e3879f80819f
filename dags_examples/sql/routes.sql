-- Flights of the routes that an airline flies daily, one row each; a route is an airline, an origin and a destination.
SELECT flight_id, carrier || ' ' || origin || '-' || dest AS route, sched_minute,
       DAYOFWEEKISO(sched_dep_at) AS sched_weekday, predict_at, late, landed_at
FROM flights {at}
WHERE known_at <= %(as_of)s
QUALIFY COUNT(*) OVER (PARTITION BY carrier, origin, dest) >= 20
