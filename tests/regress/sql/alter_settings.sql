-- What ALTER TABLE has left is cast the same whatever a session has set.
\set SHOW_CONTEXT never
set timezone = 'UTC';
create table stays (id int primary key, d date, u timestamptz, b bytea, i interval, f float8);
select godwit.track('stays');
insert into stays select n, '2026-03-02', '2026-03-02 23:00Z', '\x00ff', '-1 day 02:03:04', 0.1 + 0.2 from generate_series(1, 2) n;
-- A conflict: either leaf waits for the other's end.
select status from generate_series(1, 2) n, godwit.put_revisions('stays', jsonb_build_array(
    (godwit.get('stays', n::text) - 'table') || '{"revision": "1-0"}'));
alter table stays alter column d type text, alter column u type date, alter column b type text, alter column i type text,
    alter column f type text;
create function stays_now() returns setof text language plpgsql as $$ begin
    return query select (s.id, d, u, b, i, f)::text from stays s order by 1; end $$;
-- One session ends it for the one record, and one with other settings for the other.
select godwit.put('stays', jsonb_build_object('id', '1', 'revision', _rev, 'deleted', true)) ->> 'deleted' as deleted from stays where id = 1;
set datestyle = 'SQL, DMY'; set timezone = 'Asia/Kathmandu'; set intervalstyle = 'sql_standard'; set bytea_output = 'escape';
set extra_float_digits = -5;
select godwit.put('stays', jsonb_build_object('id', '2', 'revision', _rev, 'deleted', true)) ->> 'deleted' as deleted from stays where id = 2;
select stays_now();
select (id, d, u, b, i, f)::text from godwit.as_of(null::stays, (select max(_seq) from stays_history where godwit.generation(_rev) = 1)) order by 1;
select * from godwit.verify('stays');
select * from differences('stays');
reset all;
drop table stays, stays_history;
drop function stays_now;
