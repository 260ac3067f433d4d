-- An ordinary table with an ordinary primary key, as an app would have it, then tracked.
create table airports (
    icao text primary key,
    iata text,
    name text not null,
    city text,
    subd text,
    country text not null,
    elevation numeric,
    lat float8,
    lon float8,
    tz text,
    lid text
);
\copy airports from pstdin with (format csv, header)
select godwit.track('airports', '{"source": "airportsdata 20260905, MIT"}');
