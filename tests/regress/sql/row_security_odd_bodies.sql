-- What an old body does to a policy (here one that isn't a number is cast) is nothing to tell to a reader, and keeps nothing else back:
-- nobody sees such a body. What the table itself shows is asked as ever.
\set SHOW_CONTEXT never
create role meter_reader;
create table readings (id int primary key, v text);
select godwit.track('readings');
insert into readings values (1, 'secret one'), (2, 'secret two'), (3, 'secret three'), (4, '4'), (5, '500'), (6, '6');
select max(_seq) as since from readings_history \gset
update readings set v = '700' where id in (1, 4);  -- hidden, one of them from an odd body
update readings set v = '20' where id = 2;         -- shown, from an odd body
delete from readings where id in (3, 6);           -- an odd body last, and one that is shown
update readings set v = '501' where id = 5;        -- hidden, from a hidden one
create policy small on readings using (v::int < 100);
alter table readings enable row level security;
grant select, insert, update, delete on readings to meter_reader;
create function hears(since bigint, style text default 'revisions') returns table (heard text) language sql as
    $$ select string_agg(id || '/' || coalesce(godwit.generation(revision::godwit.revision)::text, 'left') || case when deleted then ' deleted' else '' end, ', ' order by seq)
         from godwit.changes(since, '{readings}', style => style) $$;

set role meter_reader;
select string_agg(id || ' ' || v, ', ' order by id) from readings;
select * from hears(0);
select * from hears(:since);
select * from hears(0, 'leaves');
select * from hears(:since, 'leaves');
select string_agg(_id || ' ' || coalesce(v, '-'), ', ' order by _seq) from readings_history;
select id, count(h) from (values ('1'), ('2'), ('3'), ('6')) r(id) left join godwit.history('readings', id) h on true group by id order by id;
select id, godwit.get('readings', id) is null as is_hidden from (values ('1'), ('2'), ('3'), ('6')) r(id);
-- Who puts a revision onto one that is odd has not seen it.
reset role;
select _rev as odd from readings_history where v = 'secret one' \gset
select _rev as two from readings_history where v = 'secret two' \gset
set role meter_reader;
select status, reason from godwit.put_revisions('readings', jsonb_build_array(jsonb_build_object('id', '1', 'revision', '2-mine',
    'revisions', jsonb_build_array('2-mine', :'odd'), 'attributes', '{"id": {"int": "1"}, "v": {"string": "7"}}'::jsonb)));
select godwit.put('readings', jsonb_build_object('id', '2', 'revision', :'two', 'attributes', '{"v": {"string": "8"}}'::jsonb), on_conflict => 'branch');
-- What one sends oneself is told.
select status, reason from godwit.put_revisions('readings', '[{"id": "9", "revision": "1-a", "attributes": {"id": {"int": "9"}, "v": {"string": "nine"}}}]');
reset role;
select count(*) from godwit.rejected where record_id = '1';

-- Among many.
insert into readings select g, g::text from generate_series(10, 2500) g;
update readings set v = case when id % 10 = 0 then 'odd ' || id else '600' end where id between 10 and 99;
update readings set v = case when id < 50 then '50' else '800' end where id % 10 = 0 and id < 100;
set role meter_reader;
select count(*), count(*) filter (where has_left), string_agg(distinct id, ' ' order by id) filter (where id::int < 100 and not has_left and id like '%0')
  from godwit.changes(:since, '{readings}', 10000);
select count(*) from readings_history;
reset role;

-- A policy that says itself what it doesn't like is heard.
create function checked(v text) returns boolean language plpgsql as $$
begin
    if v !~ '^\d+$' then
        raise exception 'a reading is a number';
    end if;
    return v::int < 100;
end $$;
drop policy small on readings;
create policy small on readings using (public.checked(v));
set role meter_reader;
select count(*) from readings;
select * from hears(:since);
reset role;
select * from differences('readings');
drop table readings, readings_history;
drop function hears, checked;
drop role meter_reader;
