-- An app's user needs no right on the twin to make history, and gets none.
create role app_writer; create role app_reader; create role app_owner; create role stranger;
grant create on schema public to app_owner;
set role app_owner;
create table notes (id int primary key, body text);
grant insert, update, delete on notes to app_writer;
grant select on notes to app_reader;
select godwit.track('notes');
reset role;
alter default privileges grant all on tables to stranger;
set role app_owner;
create table diary (id int primary key, body text);
select godwit.track('diary');
reset role;
alter default privileges revoke all on tables from stranger;
select relname, relowner::regrole, relacl::text[] from pg_class where relname in ('notes_history', 'diary_history') order by 1;
set role app_writer;
insert into notes values (1, 'written blind');
insert into notes values (2, 'another');
delete from notes;
insert into notes values (3, 'third');
select godwit.put('notes', '{"id": "4", "attributes": {"body": {"string": "put blind"}}}') ->> 'id' as put;
select status from godwit.put_revisions('notes', '[{"id": "5", "revision": "1-a", "attributes": {"body": {"string": "synced"}}}]');
\set SHOW_CONTEXT never
select * from notes;
select * from notes_history;
insert into notes_history (_id, _rev) values ('9', '1-forged');
select godwit.get('notes', '1');
select * from godwit.history('notes', '1');
select count(*) from godwit.changes();
select * from godwit.changes(tables => '{notes}');
select godwit.untrack('notes');
select godwit.set_metadata('notes', '{}');
select godwit._forget('notes'::regclass);
select godwit._remember('notes'::regclass, 'notes'::regclass, '{}');
delete from godwit.tracked;
select nextval('godwit.change_sequence');
reset role;
set role app_reader;
select id, body from notes order by id;
select revision is not null as has_revision, by from godwit.history('notes', '1') order by seq;
select count(*) > 0 as sees_changes from godwit.changes(tables => '{notes}');
select godwit.put('notes', '{"id": "6", "attributes": {}}');
select count(*) from godwit.put_revisions('notes', '[]');
reset role;
-- Whoever puts an operator or a function first in the path gets no owner's rights from it.
create schema evil; grant all on schema evil to app_writer;
set role app_writer;
create function evil.steal(text, text) returns boolean language plpgsql as
    $$ begin raise exception 'ran as %', current_user; end $$;
create operator evil.= (leftarg = text, rightarg = text, function = evil.steal);
create function evil.generation(godwit.revision) returns bigint language plpgsql as
    $$ begin raise exception 'ran as %', current_user; end $$;
set search_path = evil, pg_catalog, public;
insert into notes values (7, 'path');
delete from notes;
insert into notes values (7, 'path again');
select status from godwit.put_revisions('notes', '[{"id": "10", "revision": "9-z", "attributes": {"body": {"string": "synced"}}}]');
-- To edit a row that is there takes the right to read it, as in plain SQL.
select status from godwit.put_revisions('notes', '[{"id": "7", "revision": "9-z", "attributes": {"body": {"string": "synced"}}}]');
reset search_path;
reset role;
-- An app's trigger on a synced write runs as the caller, not as the owner.
create function seen() returns trigger language plpgsql as $$ begin raise notice 'after, as %', current_user; return null; end $$;
create trigger seen after insert or update on notes for each row execute function seen();
set role app_writer;
select status from godwit.put_revisions('notes', '[{"id": "8", "revision": "1-a", "attributes": {"body": {"string": "synced"}}}]');
reset role;
-- Row-level security: the twin shows nothing more than the table.
set role app_owner;
alter table notes enable row level security;
create policy mine on notes to app_reader using (id = 8);
reset role;
set role app_reader;
select count(*) from notes;
select count(*) from notes_history;
select count(*) from godwit.changes(tables => '{notes}');
select godwit.get('notes', '8') is null as hidden;
reset role;
set role app_writer;
select count(*) from godwit.put_revisions('notes', '[]');
reset role;
select * from differences('notes');
drop owned by app_writer, app_reader, app_owner, stranger cascade;
drop role app_writer; drop role app_reader; drop role app_owner; drop role stranger;
