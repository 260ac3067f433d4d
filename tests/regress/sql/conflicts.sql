-- Conflicts are listed with their ancestor and grade, and resolved in one call.
\set SHOW_CONTEXT never
create table claims (id int primary key, name text, village text, household int);
select godwit.track('claims');
insert into claims values (1, 'Amina', 'Kita', 3), (2, 'Joseph', 'Kita', 4), (3, 'Ruth', 'Kita', 5), (4, 'Esi', 'Kita', 6);
-- An edit elsewhere of what was edited here meanwhile.
create function branch(of_id text, changes jsonb) returns text language sql as $$
    select godwit.put('claims', jsonb_build_object('id', of_id, 'revision', h.revision,
               'attributes', h.record -> 'attributes' || changes), 'branch') ->> 'revision'
      from godwit.history('claims', of_id) h where h.previous is null
$$;
select branch('1', '{"village": {"string": "Segou"}}') is not null as linear;
select count(*) from godwit.conflicts;
select branch('1', '{"household": {"int": "4"}}') is not null, branch('2', '{"name": {"string": "Jo"}}') is not null;
update claims set name = 'Joe', household = 5 where id = 2;
select branch('2', '{"name": {"string": "Yusuf"}, "village": {"string": "Mopti"}}') is not null;
-- Two roots: no common ancestor.
select status from godwit.put_revisions('claims', '[{"id": "3", "revision": "1-zz",
    "attributes": {"id": {"int": "3"}, "name": {"string": "Ruth B."}, "village": {"string": "Kita"}, "household": {"int": "5"}}}]');
select table_name, relation, id, ancestor is not null as common, grade, attributes, by, at <= now() + interval '1 minute' as at
  from godwit.conflicts order by id, conflict;
select conflict <> winner and winner = (select _rev::text from claims where id = 1) as shown from godwit.conflicts where id = '1';
-- What resolving refuses.
select godwit.resolve('claims', '9');
select godwit.resolve('claims', '1', keep => '7-x');
select godwit.resolve('claims', '1', keep => revision) from godwit.history('claims', '1') where previous is null;
select godwit.resolve('claims', '1', leaves => array['2-x', '2-y']);
select godwit.resolve('claims', '1', attributes => '{"household": {"string": "many"}}');
select godwit.resolve(null, '1');
select count(*) from godwit.conflicts;
-- Keep the one that lost.
select conflict as lost from godwit.conflicts where id = '1' \gset
select godwit.resolve('claims', '1', keep => :'lost') ->> 'revision' = :'lost' as kept;
select id, name, village, household, _rev = :'lost' as is_it from claims where id = 1;
-- Merge: what is not named stays as in the one that is kept.
select array_agg(revision) as leaves from godwit.leaves('claims', '2') where not deleted \gset
select godwit.generation((godwit.resolve('claims', '2', attributes => '{"village": {"string": "Mopti"}}', leaves => :'leaves') ->> 'revision')::godwit.revision);
select id, village from claims where id = 2;
select deleted, count(*) from godwit.leaves('claims', '2') group by 1;
select godwit.resolve('claims', '3', attributes => '{"name": {"string": "Ruth B."}}') is not null;
select id, name from claims where id = 3;
select * from godwit.conflicts;
select count(*) as listed from godwit.conflicted;
-- Nothing to resolve makes nothing.
select godwit.last_sequence() as before \gset
select godwit.resolve('claims', '4') ->> 'revision' = _rev::text as same from claims where id = 4;
select count(*) from godwit.changes(since => :before);
-- A plain DELETE ends conflicts too.
select branch('4', '{"name": {"string": "Esi A."}}') is not null, branch('4', '{"name": {"string": "Esi B."}}') is not null;
delete from claims where id = 4;
select * from godwit.conflicts;
-- Who may not read a table sees none of its conflicts.
create role visitor;
select branch('1', '{"name": {"string": "Amina K."}}') is not null;
select count(*) from godwit.conflicts;
set role visitor;
select count(*) from godwit.conflicts;
select godwit.resolve('claims', '1');
select * from godwit.conflicted;
reset role;
-- 200 leaves, and five thousand revisions in one line.
select count(*) from godwit.put_revisions('claims', (select jsonb_agg(jsonb_build_object('id', '5', 'revision', '2-' || n,
    'revisions', jsonb_build_array('2-' || n, '1-r'), 'attributes', jsonb_build_object('id', '{"int": "5"}'::jsonb, 'household', jsonb_build_object('int', n::text))))
    from generate_series(1, 200) n)) where status = 'accepted';
select count(*) from godwit.conflicts where id = '5';
select count(*) from godwit.put_revisions('claims', (select jsonb_agg(jsonb_build_object('id', '6', 'revision', n || '-x',
    'revisions', case when n > 1 then jsonb_build_array(n || '-x', n - 1 || '-x') else '["1-x"]' end,
    'attributes', jsonb_build_object('id', '{"int": "6"}'::jsonb, 'household', jsonb_build_object('int', n::text))))
    from generate_series(1, 5000) n)) where status = 'accepted';
select * from claims where id in (5, 6) order by id;
select jsonb_array_length(godwit.get('claims', '6', revisions => true) -> 'revisions');
select godwit.resolve('claims', '5') is not null;
-- Each of many edits of one revision takes as little as the first: neither the record's leaves nor the versions of its
-- entry in the list are gone through for it. A leaf's children are looked up, also where a plan was made while there were few.
create table twigs (id text primary key, n int);
select godwit.track('twigs');
insert into twigs values ('t', 0);
create function edits(low int, high int) returns jsonb language sql stable as $$
    select jsonb_agg(jsonb_build_object('id', 't', 'revision', (select _rev::text from twigs_history where n = 0),
        'attributes', jsonb_build_object('n', jsonb_build_object('int', n::text)))) from generate_series(low, high) n
$$;
create function entries_read() returns bigint language sql volatile as $$
    select sum(pg_stat_get_xact_tuples_returned(indexrelid))::bigint from pg_index
     where indrelid in ('twigs_history'::regclass, 'godwit.conflicted'::regclass, 'godwit.unordered'::regclass)
$$;
begin;
select status, count(*) from godwit.put_many('twigs', edits(1, 20), 'branch') group by 1;
select count(*) from godwit.leaves('twigs', 't');
select entries_read() as before \gset
select status, count(*) from godwit.put_many('twigs', edits(21, 400), 'branch') group by 1;
select entries_read() - :before < 380 * 30 as few;
select entries_read() as before \gset
select count(*) from godwit.leaves('twigs', 't');
select jsonb_array_length(godwit.get('twigs', 't', conflicts => true) -> 'conflicts');
select count(*), count(distinct ancestor) from godwit.conflicts where table_name = 'twigs';
select entries_read() - :before < 400 * 20 as few;
select entries_read() as before \gset
select count(*) from godwit.get_many('twigs', '{t}', '{null}');
select entries_read() - :before < 10 as few;
commit;
-- Of many records with conflicts, only those at hand are looked up in the lists of such.
create function others(low int, high int, generation text) returns jsonb language sql stable as $$
    select jsonb_agg(jsonb_build_object('id', 'o' || n, 'revision', generation || '-b' || n,
        'attributes', jsonb_build_object('n', jsonb_build_object('int', generation)))) from generate_series(low, high) n
$$;
insert into twigs select 'o' || n, 0 from generate_series(1, 500) n;
select count(*) from godwit.put_revisions('twigs', others(1, 500, '3')) where status = 'accepted';
begin;
select entries_read() as before \gset
select status from godwit.put_revisions('twigs', others(7, 7, '4'));
select godwit.resolve('twigs', 'o7') is not null, godwit.resolve('twigs', 'o8') is not null;
select entries_read() - :before < 150 as few;
commit;
select count(*) from godwit.conflicted where relation = 'twigs'::regclass;
select * from differences('twigs') union all select * from differences('claims');
drop function edits, others, entries_read;
drop table twigs, twigs_history;
drop function branch;
drop table claims, claims_history;
drop role visitor;
