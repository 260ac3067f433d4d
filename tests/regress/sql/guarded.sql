-- What an owner can put in the way of a history, and what it can't do with another's rights.
create role mallory;
create schema den authorization mallory;
create table den.caught (who text);
grant insert on den.caught to public;
set role mallory;
create function den.evil(anyelement) returns boolean language plpgsql as $$
begin insert into den.caught values (current_user); return true; end $$;
create table den.n (id integer primary key, c varchar(10), e integer);
select godwit.track('den.n');
-- The guard of the twin is a seat belt, not a lock; what runs behind it runs as the owner.
set godwit.altering = 'on';
alter table den.n_history add constraint x check (den.evil(c));
reset godwit.altering;
reset role;
insert into den.n values (1, 'a', 1);
alter table den.n alter c type varchar(20);
grant select on den.n to pg_monitor;
alter table den.n drop column e;
select who, count(*) > 0 from den.caught group by 1;
truncate den.caught;
-- Only tables are tables.
set role mallory;
create table den.m (id integer primary key, _rev godwit.revision);
create view den.m_history as select *, den.evil(1) from den.n_history;
select godwit._remember('den.m'::regclass, 'den.m_history'::regclass, '{}');
drop table den.m cascade;
drop view den.m_history;
set godwit.altering = 'on';
alter table den.n_history alter column _extra type bigint using null;
reset godwit.altering;
select godwit.get('den.n', '1');
update den.n set c = 'x';
set godwit.altering = 'on';
alter table den.n_history alter column _extra type jsonb using null;
reset godwit.altering;
update den.n set c = 'x';
select * from godwit.verify('den.n');

-- Our triggers, and what sorts behind the stamp.
create function den.upper() returns trigger language plpgsql as $$ begin new.c := upper(new.c); return new; end $$;
alter table den.n disable trigger "!godwit_update";
alter trigger "!godwit_update" on den.n rename to quiet;
create or replace trigger "!godwit_update" after update on den.n for each statement execute function den.upper();
create trigger "~~later" before insert or update on den.n for each row execute function den.upper();
create trigger sooner before insert or update on den.n for each row execute function den.upper();
alter table den.n disable trigger all;
update den.n set c = 'missed';
alter table den.n enable trigger all;
select tgname, tgenabled from pg_trigger where tgrelid = 'den.n'::regclass and not tgisinternal order by 1;
update den.n set c = 'kept';
select problem from godwit.verify('den.n');
create table den.late (id integer primary key);
create trigger "~~later" before insert on den.late for each row execute function den.upper();
select godwit.track('den.late');
drop table den.late;

-- Other commands that alter tables.
drop trigger sooner on den.n;
alter view den.n rename column c to d;
update den.n set d = 'renamed';
reset role;
create schema outer_den authorization mallory;
set role mallory;
create table outer_den.parts (id integer primary key, v text) partition by range (id);
select godwit.track('outer_den.parts');
reset role;
grant all on schema outer_den to mallory;
create schema more authorization mallory
    create table p1 partition of outer_den.parts for values from (0) to (10);
insert into more.p1 values (1, 'by its name');
update more.p1 set v = 'again';
select * from differences('outer_den.parts');

-- What prints otherwise was hashed otherwise.
create type den.mood as enum ('sad', 'glad');
create type den.pair as (a integer, b den.mood);
create table den.moods (id integer primary key, m den.mood, p den.pair[]);
select godwit.track('den.moods');
insert into den.moods values (1, 'sad', array[(1, 'glad')::den.pair]);
alter type den.mood rename value 'sad' to 'blue';
alter type den.pair rename attribute a to z cascade;
alter type den.pair add attribute c text cascade;
alter type den.mood add value 'calm';
alter type den.mood rename to humour;
select * from godwit.verify('den.moods');
create type den.free as enum ('a');
alter type den.free rename value 'a' to 'b';

-- Nor computed anew without a revision, nor dropped from under it.
create domain den.short as text check (length(value) < 20);
create type den.colour as enum ('red');
create table den.values (id integer primary key, c text, n numeric, s den.short, k den.colour);
select godwit.track('den.values');
insert into den.values values (1, 'abc', 1.25, 'short', 'red');
alter table den.values alter c type text using upper(c);
alter table den.values alter n type numeric(10,1);
alter table den.values alter n type numeric(10,2);
alter table den.values alter c type varchar(5);
drop type den.colour cascade;
drop domain den.short cascade;
update den.values set c = 'abcd';
select godwit.get('den.values', '1') -> 'attributes' as attributes;
select * from godwit.verify('den.values');

-- One record's generations are not used up for all.
select status, reason from godwit.put_revisions('den.values', '[{"id": "1", "revision": "9007199254740991-a", "deleted": true, "attributes": {}}]');
delete from den.values;

-- An erasing counts when the owner brings it, whoever has brought it first.
create table den.people (id integer primary key, name text);
select godwit.track('den.people');
create role porter;
grant usage on schema den to porter;
grant all on den.people to porter;
insert into den.people values (1, 'Amina');
create temp table sent as select jsonb_build_array(jsonb_build_object('id', '1', 'revision', '2-e', 'deleted', true,
    'revisions', jsonb_build_array('2-e', _rev::text), 'attributes', '{"@erased": {"bool": "true"}}'::jsonb)) as revisions from den.people;
grant select on sent to porter;
set role porter;
select status from sent, godwit.put_revisions('den.people', revisions);
reset role;
select count(*) filter (where name is not null) as bodies from den.people_history;
select status from sent, godwit.put_revisions('den.people', revisions);
select count(*) filter (where name is not null) as bodies from den.people_history;
-- Nor does what comes of it later stay.
select status from godwit.put_revisions('den.people', '[{"id": "2", "revision": "3-e", "deleted": true, "attributes": {"@erased": {"bool": "true"}}, "revisions": ["3-e", "2-b"]}]');
select status from godwit.put_revisions('den.people', '[{"id": "2", "revision": "2-b", "revisions": ["2-b", "1-a"], "attributes": {"name": {"string": "Amina"}}}, {"id": "2", "revision": "1-a", "attributes": {"name": {"string": "Amina"}}}]');
select count(*) filter (where name is not null) as bodies from den.people_history;
drop table sent;

-- What an owner puts on the twin runs as the owner, whatever it calls.
set role mallory;
create table den.bait (id integer primary key);
select godwit.track('den.bait');
create function den.catch() returns trigger language plpgsql as $$
begin insert into den.caught values (current_user); return new; end $$;
create table den.second (id integer primary key);
select godwit.track('den.second');
create trigger catch before insert on den.second for each row execute function den.catch();
create function den.call() returns trigger language plpgsql as $$
begin
    perform godwit.put_revisions('den.second', jsonb_build_array(jsonb_build_object('id', new._id, 'revision', '1-a',
        'attributes', jsonb_build_object('id', jsonb_build_object('int', new._id)))));
    perform godwit.put('den.second', jsonb_build_object('id', new._id || '0',
        'attributes', jsonb_build_object('id', jsonb_build_object('int', new._id || '0'))), 'branch');
    return new;
end $$;
create trigger call before insert on den.bait_history for each row execute function den.call();
reset role;
insert into den.bait values (1);
select godwit.put('den.bait', '{"id": "2", "attributes": {"id": {"int": "2"}}}') ->> 'id' as id;
select distinct who from den.caught;
select who, count(*) from (select _by as who from den.second_history) s group by 1;

-- The app's triggers and defaults run under the session's settings, whatever types the table has.
create table den.spans (id integer primary key, span interval, local timestamp default localtimestamp);
create function den.path() returns trigger language plpgsql as $$
begin insert into caught values (current_setting('search_path') || ' ' || current_setting('timezone')); return new; end $$;
truncate den.caught;
create trigger path before insert or update on den.spans for each row execute function den.path();
select godwit.track('den.spans');
set search_path = den, public; set timezone = 'Asia/Kathmandu';
select godwit.put('den.spans', '{"id": "1", "attributes": {"span": {"string": "P1D"}}}') ->> 'id' as id;
select status from godwit.put_revisions('den.spans', '[{"id": "2", "revision": "1-a", "attributes": {"span": {"string": "P1D"}}}]');
select distinct who from caught;
select abs(extract(epoch from local - localtimestamp)) < 60 as local from den.spans where id = 1;
reset search_path; reset timezone;

-- A put takes nothing over from a body that its sender may not see.
create role clerk;
create table den.cases (id integer primary key, owner text, secret text, note text);
select godwit.track('den.cases');
alter table den.cases enable row level security;
create policy own on den.cases using (owner = current_user);
grant all on den.cases to clerk;
grant usage on schema den to clerk;
insert into den.cases values (1, 'boss', 'the secret', '');
update den.cases set owner = 'clerk', secret = '' where id = 1;
select _rev as hidden from den.cases_history where owner = 'boss' \gset
set role clerk;
select godwit.put('den.cases', jsonb_build_object('id', '1', 'revision', :'hidden', 'attributes',
    jsonb_build_object('id', jsonb_build_object('int', '1'), 'owner', jsonb_build_object('string', 'clerk'))), 'branch');
select count(*) from den.cases_history where secret = 'the secret';
reset role;
select status from godwit.put_revisions('den.cases', '[{"id": "1", "revision": "1-zz", "attributes":
    {"id": {"int": "1"}, "owner": {"string": "boss"}, "secret": {"string": "another secret"}, "note": {"string": ""}}}]');
set role clerk;
select godwit.resolve('den.cases', '1', '1-zz', '{"owner": {"string": "clerk"}}');
select count(*) from den.cases where secret <> '';
reset role;
-- A policy's function is asked by the name that it has.
create function den.may(o text) returns boolean language sql as $$ select o = current_user $$;
drop policy own on den.cases;
create policy own on den.cases using (den.may(owner));
set role clerk;
select count(*) from den.cases_history;
reset role;
alter function den.may(text) rename to might;
create function den.may(o text) returns boolean language sql as $$ select true $$;
set role clerk;
select count(*) from den.cases_history;
reset role;
-- The stream's locks are not to be had from SQL.
begin;
insert into den.cases values (2, 'boss', '', '');
select mode, objsubid from pg_locks where locktype = 'advisory' and pid = pg_backend_pid();
select pg_advisory_unlock_all();
select mode, objsubid from pg_locks where locktype = 'advisory' and pid = pg_backend_pid();
rollback;

-- A write runs no triggers of another owner's table that it doesn't name.
create table den.parent (id integer primary key);
select godwit.track('den.parent');
create table outer_den.child (id integer primary key, parent integer references den.parent);
alter table outer_den.child owner to mallory;
select godwit.track('outer_den.child');
select status from godwit.put_revisions('outer_den.child', '[{"id": "1", "revision": "1-a", "attributes": {"id": {"int": "1"}, "parent": {"int": "7"}}}]');
insert into den.parent values (8);
select status from godwit.put_revisions('den.parent', '[{"id": "7", "revision": "1-a", "attributes": {"id": {"int": "7"}}}]');
select count(*) from outer_den.child;
select status from godwit.retry_rejected('outer_den.child');

drop schema den, outer_den, more cascade;
drop role mallory, clerk, porter;

-- Who may write nowhere draws no numbers: its open transaction would hold every reader back.
create role idler;
set role idler;
select godwit._next_sequence();
reset role;
drop role idler;
