-- What is fuzzed: tracked tables of every shape, what is like them and isn't tracked, roles with few rights,
-- and a schema of operators and functions that nobody of ours may ever call.

create extension if not exists godwit;

create role fuzz_owner;
create role fuzz_nobody;
create role fuzz_insert;
create role fuzz_secured;
create role fuzz_tenant;
grant create on database fuzz to fuzz_owner;

create schema fuzz authorization fuzz_owner;
create schema "Fuzz ""odd"".schema" authorization fuzz_owner;
create schema tenant authorization fuzz_tenant;
grant usage on schema fuzz, "Fuzz ""odd"".schema" to public;
grant create on schema public to fuzz_owner;

set session authorization fuzz_owner;

create table fuzz.plain (
    id integer primary key,
    name text not null default 'nameless',
    n integer check (n < 1000000),
    at timestamptz,
    price numeric(10, 2),
    ok boolean default true);
create table fuzz.pair (a text, b date, v bigint default 7, primary key (a, b));
create table "Fuzz ""odd"".schema"."Quoted ""Na.me"" é" (
    "The Key" bigint primary key, "a.b" text, "UPPER" integer, "quote""d" text, "select" text);

create domain fuzz.code as text check (value ~ '^[a-z0-9-]{1,40}$');
create domain fuzz.age as integer check (value between 0 and 150);
create domain fuzz.filled as text not null default 'x';
create table fuzz.domains (id fuzz.code primary key, age fuzz.age, ages fuzz.age[], note fuzz.filled default 'x');

create type fuzz.mood as enum ('glad', 'so "so"', '');
create type fuzz.place as (name text, lat float8, tags text[]);
create table fuzz.arrays (
    id uuid primary key, ints integer[], texts text[], matrix numeric[][], jsons jsonb[], stamps timestamptz[]);
create table fuzz.documents (id bigint primary key, j json, b jsonb);
create table fuzz.composites (id integer primary key, at fuzz.place, many fuzz.place[]);
create table fuzz.generated (
    id integer primary key generated always as identity,
    a integer, twice integer generated always as (a * 2) stored, c text default 'c', d float8);
create table fuzz.types (
    id numeric primary key, bytes bytea, day date, stamp timestamp, clock time, span interval, cash money,
    host inet, bits bit(4), mood fuzz.mood, during tstzrange, words tsvector, point point, small float4,
    single "char", name name, code char(5), short varchar(5), xid xid8, id16 smallint);
create table fuzz.secured (id text primary key, tenant text, body text, secret integer);
create table fuzz.child (
    id integer primary key, parent integer references fuzz.plain on delete cascade, name text unique);
create table fuzz.altered (id integer primary key, gone text, kept text, was integer);
create table fuzz.triggered (id text primary key, n integer, said text);

insert into fuzz.plain (id, name) select g, 'row ' || g from generate_series(1, 5) g;
insert into fuzz.pair select 'k' || g, date '2026-01-05' + g from generate_series(1, 3) g;
insert into "Fuzz ""odd"".schema"."Quoted ""Na.me"" é" values (1, 'one', 1, 'q"', 's');
insert into fuzz.secured values ('a', 'fuzz_secured', 'mine', 1), ('b', 'another', 'not mine', 2);
insert into fuzz.altered values (1, 'gone', 'kept', 1), (2, 'gone too', 'kept', 2);

select godwit.track(t) from unnest(array[
    'fuzz.plain', 'fuzz.pair', '"Fuzz ""odd"".schema"."Quoted ""Na.me"" é"', 'fuzz.domains', 'fuzz.arrays',
    'fuzz.documents', 'fuzz.composites', 'fuzz.generated', 'fuzz.types', 'fuzz.secured', 'fuzz.child',
    'fuzz.altered', 'fuzz.triggered']::regclass[]) t;
select godwit.create_table('public.notes', 'title text, body text, stars smallint');

alter table fuzz.altered drop column gone;
alter table fuzz.altered rename column was to "is";
alter table fuzz.altered add column fresh text default 'fresh';
alter table fuzz.altered alter column "is" type text;
-- Their last revisions don't speak of the column that was added.
update fuzz.altered set kept = kept || '!';

create policy own on fuzz.secured using (tenant = current_user) with check (tenant = current_user);
alter table fuzz.secured enable row level security;

create function fuzz.meddle() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
    if new.said = 'refuse' then
        raise exception 'refused by the app' using errcode = 'P0099';
    elsif new.said = 'skip' then
        return null;
    elsif new.said = 'raise n' then
        new.n := coalesce(new.n, 0) + 1;
    end if;
    return new;
end
$$;
create trigger meddle before insert or update on fuzz.triggered for each row execute function fuzz.meddle();

-- Not tracked, each for a reason of its own.
create table fuzz.untracked (id integer primary key, name text);
create table fuzz.keyless (x integer);
create table fuzz.parted (id integer primary key) partition by range (id);
create table fuzz.parted_1 partition of fuzz.parted for values from (0) to (100);
create table fuzz.heir () inherits (fuzz.keyless);
create unlogged table fuzz.unlogged (id integer primary key);
create table fuzz.reserved (id integer primary key, _seq integer);
create table fuzz.a23456789012345678901234567890123456789012345678901234567890123 (id integer primary key);
create view fuzz.looking as select * from fuzz.plain;
create materialized view fuzz.looked as select * from fuzz.plain;
create sequence fuzz.counter;
create table fuzz.untracked_history (id integer);
insert into fuzz.untracked values (1, 'one');

grant select on fuzz.plain, fuzz.looking to fuzz_nobody;
grant insert on all tables in schema fuzz to fuzz_insert;
grant select, insert, update, delete on fuzz.secured to fuzz_secured;

set session authorization fuzz_tenant;
create table tenant.own (id integer primary key, name text);
create table tenant.tracked (id integer primary key, name text);
insert into tenant.own values (1, 'one');
insert into tenant.tracked values (1, 'one');
select godwit.track('tenant.tracked');
reset session authorization;

-- First in the search path of some calls. Whoever of ours finds one of these by its bare name says so.
create schema evil;
grant usage on schema evil to public;
do $$
declare
    type text;
    operator text;
begin
    foreach type in array array['text', 'name', 'oid', 'bigint', 'integer', 'boolean', 'jsonb', 'timestamptz', '"char"',
                                'godwit.revision', 'regclass', 'smallint'] loop
        execute format('create function evil.caught(%1$s, %1$s) returns boolean language plpgsql as
            $f$ declare stack pg_catalog.text; begin get diagnostics stack = pg_context;
            raise exception ''evil was called'' using errcode = ''EV1L0'', detail = stack; end $f$', type);
        foreach operator in array array['=', '<>', '<', '<=', '>', '>=', '~'] loop
            execute format('create operator evil.%1$s (leftarg = %2$s, rightarg = %2$s, function = evil.caught)',
                           operator, type);
        end loop;
    end loop;
    foreach type in array array['lower(text)', 'format(text, text)', 'quote_ident(text)', 'quote_literal(text)', 'now()',
                                'coalesce_text(text)', 'count(text)', 'pg_get_userbyid(oid)', 'to_regclass(text)',
                                'octet_length(text)', 'jsonb_typeof(jsonb)', 'cardinality(text[])', 'unnest(text[])',
                                'has_table_privilege(oid, text)', 'clock_timestamp()', 'generation(godwit.revision)'] loop
        execute format('create function evil.%s returns text language plpgsql as
            $f$ declare stack pg_catalog.text; begin get diagnostics stack = pg_context;
            raise exception ''evil was called'' using errcode = ''EV1L0'', detail = stack; end $f$', type);
    end loop;
    create domain evil.text as pg_catalog.text check (value is null);
    create domain evil.revision as pg_catalog.text check (value is null);
end
$$;
