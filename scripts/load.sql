-- An ordinary table with an ordinary primary key, as an app would have it, then tracked.
-- psql reads this with the CSV file as its standard input.
create table airports (
    icao text primary key,
    iata text,
    name text not null,
    city text,
    subd text,
    country text not null,
    -- A few airfields are surveyed to a tenth of a foot.
    elevation numeric,
    lat float8,
    lon float8,
    tz text,
    lid text
);
-- The file writes "" for what an airport doesn't have.
\copy airports from pstdin with (format csv, header, force_null (iata, city, subd, tz, lid))
select godwit.track('airports', '{"source": "airportsdata 20260905, MIT"}');
