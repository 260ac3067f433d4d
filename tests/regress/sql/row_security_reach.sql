-- Which records a reader reaches is looked up in the twin with its owner's rights, and what the policies call runs as
-- the reader. Many enough changes that this is worth while.
create role keeper; create role fieldworker; create role other;
grant create on schema public to keeper;
create table memberships (who name, region text);
insert into memberships values ('fieldworker', 'north'), ('other', 'south');
grant select on memberships to fieldworker, other;
create table ran (by_role name);
grant insert on ran to public;
create function is_open(n int) returns boolean language plpgsql as $$
begin
    insert into public.ran values (current_user);
    return n <> 13;
end $$;

set role keeper;
create table people (id int primary key, region text, n int);
select godwit.track('people');
create index on people_history (region);
insert into people select g, case g % 100 when 0 then 'north' else 'south' end, g from generate_series(1, 3000) g;
-- The keeper of the table may not read who is a member of what.
create policy own on people for select
    using (exists (select from memberships m where m.who = current_user and m.region = people.region) and is_open(n));
alter table people enable row level security;
grant select on people to fieldworker, other;
reset role;
select min(_seq) as first, max(_seq) as middle from people_history \gset
update people set region = 'south' where id in (100, 200);
update people set region = 'north' where id in (1, 2);
update people set region = 'north', n = 13 where id = 3;
update people set region = 'north' where id = 5;
update people set region = 'south' where id = 5;
delete from people where id in (300, 4);
update people set n = n + 1 where id > 1500 and id % 100 > 0;
analyze people; analyze people_history;

create function heard(since bigint) returns table (what text, ids text) language sql as $$
    select case when c.has_left then 'left' when deleted then 'deleted' else 'seen' end, string_agg(distinct id, ' ' order by id)
      from godwit.changes(since, '{people}', 10000) c group by 1 order by 1 $$;
truncate ran;
set role fieldworker;
select * from heard(:first);
select * from heard(:middle);
set role other;
select what, length(ids) > 10 from heard(:middle);
reset role;
select by_role, count(*) > 10 from ran group by 1 order by 1;
-- Who may not read the table is told nothing, whatever the policies say.
revoke select on people, people_history from other;
set role other;
select * from heard(:first);
reset role;
-- The same where the twin's policy holds for the owner too.
set role keeper;
alter table people_history force row level security;
set role fieldworker;
select * from heard(:first);
select * from heard(:middle);
reset role;

-- A policy that an old body of a hidden record does something to: nobody is told of it, or kept from the others. And
-- columns that are named as what is looked up is.
create table figures (id int primary key, v text, _godwit_id text, _godwit_rev text, _godwit_place int);
select godwit.track('figures');
insert into figures values (1, 'hidden secret');
update figures set v = '7';
select max(_seq) as first from figures_history \gset
insert into figures select g, g::text from generate_series(2, 3000) g;
create policy round_ones on figures for select using (v::int % 100 = 0);
alter table figures enable row level security;
grant select on figures to fieldworker;
set role fieldworker;
select count(*) from figures;
select count(*) from godwit.changes(:first, '{figures}', 10000);
reset role;
delete from figures_history where v = 'hidden secret';
set role fieldworker;
select count(*) from godwit.changes(:first, '{figures}', 10000);
select count(*) from godwit.changes(:first, '{figures}', 10000, ids => (select array_agg(g::text) from generate_series(1, 500) g));
reset role;

drop table people, people_history, memberships, ran, figures, figures_history;
drop function heard, is_open;
revoke create on schema public from keeper;
drop role keeper, fieldworker, other;
