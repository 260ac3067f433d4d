-- Whether a record is new, and which of its revisions is the highest, is looked up in the pages of the twin's key, first where the
-- last look ended: so records come in every order, are deleted and come again, while pages fill and are split.
\set SHOW_CONTEXT never
create table sites (id text collate "C" primary key, name text);
select godwit.track('sites');
-- Long ids, so that a page has a dozen of them and three levels stand above 1,200.
create function long_id(n int) returns text language sql immutable as $$
    select string_agg(md5(n || ' ' || part), '' order by part) from generate_series(1, 13) part $$;
create function generations() returns table (generation bigint, deleted boolean, records bigint) language sql as $$
    select godwit.generation(h._rev), h._deleted, count(*) from sites_history h
     where not exists (select from sites_history c where c._id = h._id and c._rev operator(godwit.>) h._rev)
     group by 1, 2 order by 1, 2 $$;
-- One by one, in the order of nothing.
do $$ begin
    for n in 1..1200 loop insert into sites values (long_id(n), n::text); end loop;
end $$;
select * from generations();
select pg_relation_size('sites_history_pkey') / 8192 between 60 and 400 as has_many_pages;
-- A third ends one by one and comes again one by one: it goes on from its tombstones.
do $$ begin
    for n in 1..1200 by 3 loop delete from sites where id = long_id(n); end loop;
    for n in 1..1200 by 3 loop insert into sites values (long_id(n), n::text); end loop;
end $$;
select * from generations();
-- Another third at once, in the order of their ids and back; each finds its own end.
delete from sites where id in (select long_id(n) from generate_series(2, 1200, 3) n);
insert into sites select long_id(n), n::text from generate_series(2, 1200, 3) n order by long_id(n);
delete from sites where id in (select long_id(n) from generate_series(2, 1200, 3) n);
insert into sites select long_id(n), n::text from generate_series(2, 1200, 3) n order by long_id(n) desc;
select * from generations();
-- Below all others, above all others, and beside them.
insert into sites values ('', 'refused');
insert into sites values ('!', 'first'), ('~', 'last');
delete from sites where id in ('!', '~');
insert into sites select id || suffix, name from (values ('!'), ('~')) i(id), (values (''), ('0'), ('~')) s(suffix), (values ('again')) n(name);
select p.id, godwit.generation(p._rev) from sites p where name = 'again' order by 1;
-- A page of revisions of one record, and its neighbours.
insert into sites values ('a', '0'), ('b', '0');
do $$ begin for n in 1..700 loop update sites set name = n::text where id = 'a'; end loop; end $$;
delete from sites where id in ('a', 'b');
insert into sites values ('a', 'again'), ('a0', 'new'), ('b', 'again'), ('Z', 'new');
select p.id, godwit.generation(p._rev) from sites p where id in ('a', 'a0', 'b', 'Z') order by 1;
-- The key is built anew between two looks, and shorter; in one transaction, too.
delete from sites where length(id) > 100;
reindex table sites_history;
insert into sites values ('a1', 'new');
begin;
reindex index sites_history_pkey;
insert into sites select long_id(n), 'back' from generate_series(1, 1200, 7) n;
savepoint one;
reindex index sites_history_pkey;
insert into sites select long_id(n), 'back' from generate_series(2, 1200, 7) n;
rollback to one;
insert into sites select long_id(n), 'back' from generate_series(2, 1200, 7) n;
commit;
select godwit.generation(p._rev), count(*) from sites p where name = 'back' group by 1 order by 1;
vacuum sites_history;
delete from sites where name = 'back';
select * from generations();
select * from godwit.verify('sites');
-- A table that is made, filled and emptied by who makes it: the twin's key begins anew in the same file.
begin;
create table meters (id int primary key, note text);
select godwit.track('meters');
insert into meters select n, 'first' from generate_series(1, 3000) n;
insert into meters values (3001, 'first');
truncate meters_history, meters;
insert into meters select n, 'again' from generate_series(2990, 3010) n;
commit;
select godwit.generation(_rev), count(*) from meters group by 1;
drop table sites, meters;
drop table sites_history, meters_history;
