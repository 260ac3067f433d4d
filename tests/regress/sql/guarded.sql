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
drop role mallory, clerk;
