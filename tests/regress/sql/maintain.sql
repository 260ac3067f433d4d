-- The history as it was, checked, made smaller, erased.
\set SHOW_CONTEXT never
create table wells (id int primary key, depth numeric(6,2), name text, deep boolean generated always as (depth > 50) stored, seen date default '2026-01-01');
insert into wells select n, n * 10, 'well ' || n from generate_series(1, 9) n;
select godwit.track('wells');
select godwit.last_sequence() as tracked \gset
select clock_timestamp() as then \gset
update wells set depth = depth + 1 where id <= 3;
delete from wells where id = 4;
update wells set id = 40 where id = 5;
select godwit.last_sequence() as later \gset
alter table wells add column owner text default 'village';
update wells set name = 'renamed' where id = 1;
insert into wells (id, depth) values (4, 99);
-- As of a number, a time, now; typed, and usable in joins.
select count(*), sum(depth), count(*) filter (where deep) as deep from godwit.as_of(null::wells, :tracked);
select count(*), sum(depth) from godwit.as_of(null::wells, :'then'::timestamptz);
select w.id, w.depth, a.depth as was, a.deep, a.owner, pg_typeof(a.depth) from wells w left join godwit.as_of(null::wells, :later) a using (id) where w.id in (1, 4, 40) order by id;
select count(*) from godwit.as_of(null::wells, 0);
select * from godwit.as_of(null::wells, :later) except select * from godwit.as_of(null::wells, :'then'::timestamptz) order by 1;
select * from wells except select * from godwit.as_of(null::wells, clock_timestamp());
select * from godwit.as_of(null::int, 5);
select * from godwit.as_of(null::pg_class, 5);
-- All is well.
select * from godwit.verify('wells');
select status from godwit.put_revisions('wells', '[{"id": "7", "revision": "1-couch", "attributes": {"id": {"int": "7"}, "colour": {"string": "green"}}},
    {"id": "8", "revision": "2-91f2d2e7a1f1b1c0a0a1a2a3a4a5a6a7", "revisions": ["2-91f2d2e7a1f1b1c0a0a1a2a3a4a5a6a7", "1-x"], "attributes": {}}]');
select * from godwit.verify('wells');
select _extra from wells_history where _rev = '1-couch';
update wells set depth = 1 where id in (7, 8);
select * from godwit.verify('wells');
-- What somebody broke behind the back of it is found.
set session_replication_role = replica;
alter table wells disable trigger "~godwit_stamp", disable trigger "!godwit_replay", disable trigger "!godwit_truncate";
update wells set name = 'forged' where id = 2;
delete from wells where id = 3;
insert into wells (id, _rev) values (77, '1-forged');
update wells set _rev = '1-0' where id = 6;
update wells_history set name = 'rewritten' where _id = '9';
delete from wells_history where _id = '2' and _prev is null;
insert into wells_history (_id, _rev, name, _extra) values ('1', '1-b', 'aside', '{"_foreign": true}');
reset session_replication_role;
select id, regexp_replace(problem, '1-\w+', '1-…') from godwit.verify('wells') order by id, 2;
drop table wells; drop table wells_history;
-- Compact.
create table logs (id int primary key, note text);
select godwit.track('logs');
insert into logs select n, 'first' from generate_series(1, 50) n;
select godwit.last_sequence() as first \gset
do $$ begin for i in 1..9 loop update logs set note = 'edit ' || i; end loop; end $$;
delete from logs where id = 50;
select godwit.put('logs', jsonb_build_object('id', '1', 'revision', revision, 'attributes', '{"note": {"string": "branch"}}'::jsonb), 'branch') is not null
  from godwit.history('logs', '1') where godwit.generation(revision::godwit.revision) = 5;
call godwit.compact('logs');
call godwit.compact('logs', revisions => 0);
call godwit.compact('logs', keep => '1 hour');
call godwit.compact('logs', revisions => 3, batch => 7);
call godwit.compact('logs', revisions => 3, batch => 7);
select _id, string_agg(case when _stub then 'stub' when _deleted then 'gone' else note end, ', ' order by _rev desc) from logs_history where _id in ('1', '2', '50') group by 1 order by 1;
-- A batch begins where the last one ended, and reads nothing that lies before.
create table many (id int primary key);
select godwit.track('many');
insert into many select generate_series(1, 1000);
vacuum analyze many_history;
begin;
set local enable_seqscan = off;
select pg_stat_get_xact_tuples_returned('many_history_pkey'::regclass) as read \gset
select after, freed from godwit._compact('many'::regclass, '998', null, 1, 10);
select pg_stat_get_xact_tuples_returned('many_history_pkey'::regclass) - :read between 1 and 20 as reads_what_is_left;
rollback;
drop table many; drop table many_history;
select count(*) from godwit.progress;
select * from godwit.verify('logs');
select count(*) from godwit.changes(tables => '{logs}', include => 'records', max => 10000);
-- A client from a year ago finds its ancestor, and can't bring a dropped body back, nor is asked for it.
select revision as old from godwit.history('logs', '2') where previous is null \gset
select stub from godwit.history('logs', '2') where revision = :'old';
select godwit.revs_diff('logs', jsonb_build_object('2', jsonb_build_array(:'old', '2-new')));
select status from godwit.put_revisions('logs', jsonb_build_array(
    jsonb_build_object('id', '2', 'revision', :'old', 'attributes', '{"id": {"int": "2"}, "note": {"string": "first"}}'::jsonb),
    jsonb_build_object('id', '2', 'revision', '2-new', 'revisions', jsonb_build_array('2-new', :'old'), 'attributes', '{"id": {"int": "2"}, "note": {"string": "a year late"}}'::jsonb)));
select ancestor = :'old' as ancestor, grade from godwit.conflicts where relation = 'logs'::regclass and id = '2';
select stub from godwit.history('logs', '2') where revision = :'old';
select count(*) from godwit.as_of(null::logs, :first);
select count(*) from godwit.as_of(null::logs, clock_timestamp());
-- Only its owner.
create role guest; grant all on logs to guest; set role guest;
call godwit.compact('logs', keep => '0');
select godwit.erase('logs', '1');
select count(*) from godwit.verify('logs');
reset role;
-- Erase: nothing that was said is left, here or where the tombstone comes to.
create table peer (like logs); alter table peer drop column _rev, add primary key (id);
select godwit.track('peer');
create function replicate(id text) returns void language sql as $$
    select godwit.put_revisions('peer', (select jsonb_agg(godwit.get('logs', id, h.revision, revisions => true) - 'table') from godwit.history('logs', id) h where not h.stub))
$$;
select replicate('1'), replicate('2');
select godwit.put_revisions('logs', '[{"id": "1", "revision": "9-bad", "attributes": {"id": {"int": "2"}, "note": {"string": "secret"}}}]') is not null;
select godwit.erase('logs', '1') - 'revision' as erased;
select godwit.erase('logs', '9999');
create table trees (id int primary key, kind text);
select godwit.track('trees');
insert into trees values (1, 'baobab'), (2, 'acacia');
select godwit.last_sequence() as planted \gset
select godwit.erase('trees', '1') is not null;
select id, kind from godwit.as_of(null::trees, :planted);
select godwit.untrack('trees', drop_history => true);
drop table trees;
-- A long history is erased revision by revision, each looked up once, though a small twin would be read as fast as looked into.
create table long (id int primary key, n int);
select godwit.track('long');
insert into long values (1, 0);
do $$ begin for i in 1..300 loop update long set n = i; end loop; end $$;
select status from godwit.put_revisions('long', '[{"id": "1", "revision": "400-a", "revisions": ["400-a", "399-b", "398-c"], "attributes": {"id": {"int": "1"}, "n": {"int": "400"}}}]');
analyze long_history;
begin;
select pg_stat_get_xact_tuples_returned('long_history'::regclass) as read \gset
select godwit.erase('long', '1') is not null;
select pg_stat_get_xact_tuples_returned('long_history'::regclass) - :read < 10 * 304 as reads_it_a_few_times;
commit;
select count(*) filter (where not _stub) as ends, count(*) filter (where _seq is null) as never_came, count(n) as bodies from long_history;
select * from godwit.verify('long');
drop table long; drop table long_history;
select id from logs where id = 1;
select count(*) filter (where not _stub and not _deleted) as bodies, count(note) as notes, count(*) > 10 as names from logs_history where _id = '1';
select count(*) from godwit.rejected where relation = 'logs'::regclass and record_id = '1';
select count(*) from godwit.conflicts where relation = 'logs'::regclass and id = '1';
-- A mere writer's tombstone ends the branch and erases nothing; the owner's erases.
grant all on peer to guest;
create table ends as select jsonb_agg(godwit.get('logs', '1', l.revision, revisions => true) - 'table') as records from godwit.leaves('logs', '1') l;
grant select on ends to guest;
select count(*) as bodies from peer_history where _id = '1' and note is not null;
select replicate('1');
select count(*) as bodies from peer_history where _id = '1' and note is not null;
select count(*) from peer where id = 1;
select * from godwit.verify('peer') union all select * from godwit.verify('logs');
select godwit.get('logs', '2', revisions => true) ->> 'revision' is not null;
set role guest;
select status from godwit.put_revisions('peer', (select jsonb_agg(jsonb_build_object('id', '2', 'revision', (godwit.generation(_rev) + 1) || '-e', 'revisions', jsonb_build_array((godwit.generation(_rev) + 1) || '-e', _rev), 'deleted', true, 'attributes', '{"@erased": {"bool": "true"}}'::jsonb)) from peer where id = 2));
reset role;
select count(*) > 0 as kept from peer_history where _id = '2' and note is not null;
drop function replicate;
drop table logs, peer, ends; drop table logs_history, peer_history;
drop role guest;
