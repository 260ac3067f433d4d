-- Every type of DESIGN.md's table: its wire form, and the same revision under any setting.
create type mood as enum ('sad', 'ok', 'happy');
create type place as (name text, at point, floors int[]);
create domain positive as int check (value > 0);
create table kinds (
    id int primary key, b boolean, i2 smallint, i8 bigint, f4 real, f8 double precision,
    n numeric, t text, v varchar(10), c char(3), e mood, u uuid, by bytea, d date,
    ts timestamp, tz timestamptz, a int[], aa text[][], j json, jb jsonb, p place, dom positive,
    iv interval, r daterange, tr tstzrange, m money, ip inet, ti time, pt point, reg regclass);
select godwit.track('kinds');
create function fill(first int) returns void language sql as $$
    insert into kinds values (first, true, -32768, 9223372036854775807, 1.1, 0.1, 12.50, 'ü𝄞"\', 'x', 'ab',
        'happy', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\x00ff', '2024-02-29',
        '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.789+05:30', '{1,null,3}', '{{a,b},{c,null}}',
        '{"b": 1.50, "a": [1e2, 12345678901234567890, true, null, "x"]}', '{"b": 1.50, "a": [-0.0, {}]}',
        ('camp', '(1.5,2)', '{1,2}'), 7, '1 year 2 mons 3 days 04:05:06', '[2024-01-01,2024-02-01)',
        '[2024-01-01 00:00+00,)', 12.34, '10.0.0.1/8', '04:05:06', '(0.1,2)', 'kinds');
    insert into kinds (id, b, f4, f8, n, t, v, by, d, ts, tz, a, j, jb) values
        (first + 1, false, 'NaN', '-Infinity', 'NaN', '', '', '', 'infinity', '-infinity', 'infinity', '{}', '[]', '"s"'),
        (first + 2, null, '-0', '-0', 0.000, E'\n\t', ' ', '\xdeadbeef', '0044-03-15 BC', '0001-01-01 BC', '10000-01-01 00:00Z', '{{1,2},{3,4}}', '7', '1e3'),
        (first + 3, null, 3.4028235e38, 5e-324, 1e20, 'x', null, null, '5874897-12-31', '0001-01-01', '294276-12-31 23:59:59.999999Z', null, 'null', 'null'),
        (first + 4, null, 1e21, 1e21, -1234567890123456789012345678901234567890.000000001, 'x', null, null, '9999-12-31', null, null, null, '{"a":{"a":1}}', '{}');
$$;
select fill(1);
-- All that could change how a value prints.
set datestyle = 'SQL, DMY'; set timezone = 'Asia/Kathmandu'; set intervalstyle = 'sql_standard';
set extra_float_digits = -15; set bytea_output = 'escape'; set search_path = pg_temp, public;
set lc_monetary = 'C.UTF-8';
select fill(11);
reset datestyle; reset timezone; reset intervalstyle; reset extra_float_digits; reset bytea_output;
reset search_path; reset lc_monetary;
select key, value from jsonb_each(godwit.get('kinds', '1') -> 'attributes') order by key collate "C";
select (id - 1) % 10 as row, key, value from kinds, jsonb_each(godwit.get('kinds', id::text) -> 'attributes')
 where id between 2 and 5 and value <> '{"null": true}' and key <> 'id' order by 1, key collate "C";
select a.id, b.id, (godwit.get('kinds', a.id::text) -> 'attributes') - 'id' = (godwit.get('kinds', b.id::text) -> 'attributes') - 'id' as same
  from kinds a join kinds b on b.id = a.id + 10 order by 1;
-- The same body of the same record has the same revision, settings or not.
create temp table first_revisions as select id, _rev::text as rev from kinds;
truncate kinds;
select godwit.untrack('kinds', true);
select fill(1);
set datestyle = 'German, DMY'; set timezone = 'America/St_Johns'; set intervalstyle = 'postgres_verbose';
set extra_float_digits = 0; set bytea_output = 'escape'; set search_path = pg_catalog;
select godwit.track('public.kinds');
reset all;
select count(*) as the_same from kinds k join first_revisions f on f.id = k.id and f.rev = k._rev::text;
-- What travelled out comes back to the same row, through JSON text and under other settings.
create table copies (like kinds);
alter table copies drop column _rev, add primary key (id);
select godwit.track('copies');
select jsonb_agg(godwit.get('kinds', id::text, revisions => true) - 'table') as wire from kinds \gset
set datestyle = 'SQL, DMY'; set timezone = 'Asia/Kathmandu'; set intervalstyle = 'sql_standard'; set extra_float_digits = -15;
select status, reason, count(*) from godwit.put_revisions('copies', :'wire') group by 1, 2;
reset all;
select count(*) as the_same from kinds k join copies c using (id) where k._rev = c._rev;
-- Type json alone loses something: its own spacing and order.
select to_jsonb(one) = to_jsonb(other) as the_same, one.j::text = other.j::text as same_text from kinds one join copies other using (id) order by id;
select _id, _extra as kept_beside from copies_history where _extra is not null;
select * from differences('copies');
