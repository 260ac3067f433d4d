-- A policy may ask about the whole row: it is asked of revisions and of deleted records, too, as of the table's own rows.
create role north; create role south;
create table charts (gone int, id int primary key, region name, secret text, label text generated always as (region || ':' || secret) stored, note text);
select godwit.track('charts');
alter table charts drop column gone;
alter table charts add column later int default 3;
create function is_of(c charts, who name) returns boolean language sql stable as
    $$ select c.region = who and c.label = c.region || ':' || c.secret and c._rev is not null $$;
create function names(r anyelement) returns text language sql stable as
    $$ select pg_catalog.string_agg(k, ' ' order by k) from pg_catalog.jsonb_object_keys(pg_catalog.to_jsonb(r)) k $$;
insert into charts (id, region, secret, note) select g, case g % 2 when 0 then 'south' else 'north' end, 's' || g, case when g < 6 then 'n' end from generate_series(1, 6) g;
alter table charts enable row level security;
grant select, insert, update, delete on charts to north, south;
-- Old bodies, a deletion, a conflict and a row that moves out of sight.
update charts set secret = 'moved', region = 'south' where id = 1;
update charts set secret = 'edited' where id in (2, 3);
delete from charts where id in (4, 5);
create function sent(id int, revision text, region text) returns jsonb language sql as $$
    select jsonb_build_array(jsonb_build_object('id', id::text, 'revision', revision, 'attributes', jsonb_build_object(
        'id', jsonb_build_object('int', id::text), 'region', jsonb_build_object('string', region),
        'secret', '{"string": "sent"}'::jsonb, 'note', '{"string": "n"}'::jsonb, 'later', '{"int": "1"}'::jsonb)))
$$;
select status from godwit.put_revisions('charts', sent(3, '1-beside', 'north') || sent(3, '1-elsewhere', 'south') || sent(6, '1-beside', 'south'));

create function sees() returns table (what text, ids text) language sql as $$
    select 'table', string_agg(id || region, ' ' order by id) from charts
    union all select 'twin', string_agg(_id || '/' || godwit.generation(_rev) || coalesce(region || secret, '-'), ' ' order by _id, _rev) from charts_history
    union all select 'changes', string_agg(id || '/' || godwit.generation(revision::godwit.revision) || coalesce(record -> 'attributes' -> 'secret' ->> 'string', '-'), ' ' order by id, seq)
        from godwit.changes(tables => '{charts}', include => 'record')
    union all select 'leaves', string_agg(id || '/' || godwit.generation(revision::godwit.revision), ' ' order by id, seq) from godwit.changes(tables => '{charts}', style => 'leaves')
    union all select 'got', string_agg(id, ' ') from generate_series(1, 6) g(n), cast(n as text) id where godwit.get('charts', id) is not null
    union all select 'history', string_agg(id || '/' || h.revision, ' ' order by id, h.revision) from generate_series(1, 6) g(n), cast(n as text) id, godwit.history('charts', id) h where h.revision like '1-b%' or h.revision like '1-e%'
    union all select 'conflicts', string_agg(id, ' ' order by id) from godwit.conflicts where relation = 'charts'::regclass
$$;
-- What a plain condition shows is what the whole row's must.
create table plain as select ''::text as reader, * from sees() limit 0;
grant select, insert on plain to north, south;
create policy one on charts using (region = current_user and label = region || ':' || secret);
set role north; insert into plain select 'north', * from sees();
set role south; insert into plain select 'south', * from sees();
reset role;
select * from plain order by reader, what;
create procedure compare(condition text) language plpgsql as $$
declare
    who text;
    otherwise text;
begin
    execute 'drop policy one on charts; create policy one on charts using (' || condition || ')';
    foreach who in array '{north,south}'::text[] loop
        execute format('set local role %I', who);
        select string_agg(what || ': ' || coalesce(ids, '-'), E'\n') into otherwise
          from (select * from sees() except select what, ids from plain where reader = who) s;
        reset role;
        raise notice '%: % sees %', condition, who, coalesce(otherwise, 'the same');
    end loop;
end $$;
call compare('public.is_of(charts, current_user)');
call compare('charts is not distinct from charts and region = current_user');
call compare('public.is_of((select charts), current_user)');
call compare('exists (select from (values (charts)) v(c) where public.is_of(v.c, current_user))');
call compare('(select row(charts, 1)) is not null and public.is_of(charts, current_user)');
call compare($$public.names(charts) = '_rev id label later note region secret' and region = current_user$$);
call compare('exists (select from pg_catalog.generate_series(1, 2) charts where charts = 2) and public.is_of(charts, current_user)');

-- A row that is not null as a whole, and what is written.
drop policy one on charts;
create policy one on charts using (charts is not null and region = current_user);
set role north; select * from sees(); reset role;
set role south; select * from sees() where what = 'table'; reset role;
drop policy one on charts;
create policy one on charts using (public.is_of(charts, current_user));
set role north;
select status, reason from godwit.put_revisions('charts', sent(7, '1-mine', 'north') || sent(8, '1-theirs', 'south') || sent(1, '1-theirs', 'north') || sent(3, '1-0', 'south') || sent(3, '1-1', 'north'));
select status, reason from godwit.put_many('charts', '[{"id": "9", "attributes": {"region": {"string": "north"}, "secret": {"string": "9"}}}, {"id": "10", "attributes": {"region": {"string": "south"}, "secret": {"string": "10"}}}]');
reset role;
-- Who could see a record is told that it has left, and nobody else is told of it.
select max(_seq) as since from charts_history \gset
update charts set region = 'south' where id in (7, 9);
set role north; select id, has_left, revision is null as unnamed from godwit.changes(:since, '{charts}'); reset role;
set role south; select id, has_left from godwit.changes(:since, '{charts}') order by id; reset role;

-- A column of another type, in the same session.
alter table charts alter later type bigint;
set role north; select what, ids from sees() where what in ('changes', 'leaves', 'twin'); reset role;

-- Many changes, where what is reached is looked up first; and a restrictive policy beside.
insert into charts (id, region, secret, note) select g, case g % 300 when 0 then 'north' else 'south' end, 's', 'n' from generate_series(1000, 4000) g;
update charts set region = 'south' where id in (1200, 1500);
update charts set region = 'north' where id = 1001;
delete from charts where id in (1800, 1002);
create policy two on charts as restrictive using (public.is_of(charts, current_user) or later > 5);
analyze charts; analyze charts_history;
set role north;
select string_agg(id::text, ' ' order by id) from charts where id >= 1000;
select string_agg(id || case when has_left then ' left' when deleted then ' deleted' else '' end, ', ' order by id::int)
  from godwit.changes(:since, '{charts}', 10000) where id::int >= 1000;
reset role;

select * from differences('charts');
\set VERBOSITY terse
drop table charts cascade; drop table charts_history, plain;
drop function sees, sent, names;
drop procedure compare;
drop role north, south;
