-- What became of the flights, as far as it was known at as_of.
SELECT flight_id, late
FROM flights {at}
WHERE known_at <= %(as_of)s AND late IS NOT NULL
