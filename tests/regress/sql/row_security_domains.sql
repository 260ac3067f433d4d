-- A policy on whole rows is asked of revisions that a domain of the table's wouldn't take now; one may ask which table a
-- row is of.
create role surveyor;
create domain named as text not null;
create domain small as int;
create table plots (id int primary key, n small, owner name);
select godwit.track('plots');
insert into plots values (1, 5, 'surveyor'), (2, 500, 'surveyor'), (3, 7, 'other');
update plots set n = 6 where id = 1;
alter table plots add column label named default 'none';
insert into plots (id, n, owner, label) values (4, 8, 'surveyor', 'named');
delete from plots where id = 3;
alter domain small add check (value < 100) not valid;
create function is_own(p plots) returns boolean language sql stable as $$ select p.owner = current_user $$;
create policy own on plots using (public.is_own(plots));
alter table plots enable row level security;
grant select on plots to surveyor;
create function shown() returns table (what text, ids text) language sql as $$
    select 'table', string_agg(id || ':' || n || coalesce(label, '-'), ' ' order by id) from plots
    union all select 'twin', string_agg(_id || ':' || coalesce(n::text, '-'), ' ' order by _id, _rev) from plots_history
    union all select 'changes', string_agg(id || ':' || coalesce(record -> 'attributes' -> 'n' ->> 'int', '-'), ' ' order by id, seq)
        from godwit.changes(tables => '{plots}', include => 'record')
    union all select 'leaves', string_agg(id, ' ' order by id) from godwit.changes(tables => '{plots}', style => 'leaves')
$$;
set role surveyor; select * from shown(); reset role;
-- What a row of the table is made of is of its types.
select godwit._as_row(null::plots, row(1, 2, 'x'::name, null::godwit.revision, null::text));
select godwit._as_row(null::plots, row(1, 2));
select godwit._as_row(null::plots, row(1, 'x'::text, 'x'::name, null::godwit.revision, null::text));
select godwit._as_row(null::plots, null);
drop policy own on plots;
create policy own on plots using (tableoid = 'public.plots'::regclass and owner = current_user);
set role surveyor; select * from shown(); reset role;
drop policy own on plots;
create policy own on plots using (tableoid = 'public.plots'::regclass and public.is_own(plots));
set role surveyor; select * from shown(); reset role;
drop policy own on plots;
create policy own on plots using (exists (select from pg_class c where c.oid = plots.tableoid and c.relname = 'plots') and owner = current_user);
set role surveyor; select * from shown(); reset role;
-- In which partition a deleted row was isn't kept: what a policy hides by it stays hidden.
create table rooms (id int, kind text, body text, primary key (id, kind)) partition by list (kind);
create table rooms_open partition of rooms for values in ('open');
create table rooms_secret partition of rooms for values in ('secret');
select godwit.track('rooms');
insert into rooms values (1, 'open', 'hello'), (2, 'secret', 'not for all');
create policy no_secret on rooms using (tableoid <> 'public.rooms_secret'::regclass);
alter table rooms enable row level security;
grant select on rooms to surveyor;
delete from rooms where id = 2;
set role surveyor;
select id, body from rooms;
select _id, body from rooms_history;
select id from godwit.changes(tables => '{rooms}');
reset role;
drop table rooms, rooms_history;
\set VERBOSITY terse
drop table plots cascade; drop table plots_history;
drop function shown;
drop domain named, small;
drop role surveyor;
