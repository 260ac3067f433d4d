-- In charge of the example's table: an ordinary one with an ordinary key, filled with COPY and then
-- tracked with one call. psql reads it with the CSV file as its standard input.

-- A few airfields are surveyed to a tenth of a foot, hence numeric.
create table public.airports (
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

-- The file writes "" for what an airport doesn't have.
\copy public.airports from pstdin with (format csv, header true, force_null (iata, city, subd, tz, lid))

select godwit.track('public.airports');

analyze public.airports;
