-- The changes of records that a reader names, or that a filter matches, are looked up in the pages of the twin's key, one
-- record after the other, where there are many more changes than records. The twin itself says which they are.
\set SHOW_CONTEXT never
set client_min_messages = warning;
create table sites (id text collate "C" primary key, name text);
select from godwit.track('sites');
-- Long ids, so that a page has a dozen of them and three levels stand above them.
create function far_id(n int) returns text language sql immutable as $$
    select string_agg(md5(n || ' ' || part), '' order by part) from generate_series(1, 13) part $$;
create table asked (id text collate "C");
create view named as select c.seq, c.id collate "C" as id, c.revision collate "C" as revision, c.deleted, c.winner collate "C" as winner
  from godwit.changes(0, '{sites}', 100000, ids => (select array_agg(id) from asked)) c;
create view kept as
    select h._seq as seq, h._id collate "C" as id, h._rev::text collate "C" as revision, h._deleted as deleted, w.winner
      from (select distinct id from asked) a cross join lateral (
            select l._rev::text collate "C" as winner from sites_history l where l._id = a.id and not exists (
                    select from sites_history c where c._id = l._id and c._prev operator(godwit.=) l._rev)
             order by l._deleted, l._rev desc limit 1) w
      join sites_history h on h._id = a.id and not h._stub;
create function differ() returns table (shown bigint, otherwise bigint) language sql as $$
    select count(n.seq), count(*) filter (where n is distinct from k) from named n full join kept k using (seq) $$;
insert into sites select far_id(n), n::text from generate_series(1, 1200) n;
-- Two that have pages of revisions of their own, next to each other; and one whose entry is packed, and can't be read in place.
insert into sites values ('a', '0'), ('b', '0'), (repeat('x', 1000), '0');
do $$ begin
    for n in 1..500 loop update sites set name = n::text where id in ('a', 'b'); end loop;
    for n in 1..20 loop update sites set name = n::text where length(id) > 1; end loop;
end $$;
insert into asked select far_id(n) from generate_series(1, 1200, 60) n;
insert into asked values ('a'), ('b'), (repeat('x', 1000)), (''), ('~'), ('aa'), (far_id(0)), ('a');
select pg_relation_size('sites_history_pkey') / 8192 > 1000 as has_many_pages;
select * from differ();
-- Conflicts and tombstones.
delete from sites where id in (select id from asked order by id desc limit 4);
insert into sites select id, 'again' from asked order by id desc limit 2 offset 2;
select count(*) from godwit.put_revisions('sites', (select jsonb_agg(jsonb_build_object('id', id, 'revision', '30-x',
    'revisions', '["30-x", "29-w"]'::jsonb, 'attributes', jsonb_build_object('id', jsonb_build_object('string', id)))) from (select distinct id from asked) a
     where id = 'a' or id like '1%')) where status = 'accepted';
select * from differ();
-- Whose looks must be noted.
begin isolation level serializable;
select count(*) from named;
select count(*) > 0 as noted from pg_locks where mode = 'SIReadLock' and relation = 'sites_history_pkey'::regclass;
select * from differ();
commit;
begin isolation level repeatable read;
select * from differ();
commit;
-- Revisions go, and pages with them: those of the first of the two, and most of those that nobody asked for.
delete from sites_history where _id = 'a' and godwit.generation(_rev) < 490;
delete from sites_history where length(_id) > 1 and _id not in (select id from asked);
set enable_seqscan = off;
select count(*) from sites_history where _id in ('a', 'b');
reset enable_seqscan;
select * from differ();
vacuum sites_history;
select * from differ();
insert into sites select far_id(n), 'more' from generate_series(2000, 3000) n;
insert into asked select far_id(n) from generate_series(2000, 3000, 100) n;
select * from differ();
reindex table sites_history;
select * from differ();
drop view named, kept;
drop function differ;
drop table sites, sites_history, asked;
drop function far_id;
