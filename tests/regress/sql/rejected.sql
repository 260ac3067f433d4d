-- What the table's own constraints refuse waits with the reason, and comes in when it can.
\set SHOW_CONTEXT never
create table hamlets (id int primary key, village text not null, code text unique);
create table villagers (id int primary key, name text, household int references hamlets, head int references villagers);
select godwit.track('hamlets'), godwit.track('villagers');
create view waiting as select * from godwit.rejected where relation in ('hamlets'::regclass, 'villagers'::regclass);
alter view waiting set (security_invoker);
grant select on waiting to public;
create function first(id int, attributes jsonb) returns jsonb language sql as $$
    select jsonb_build_object('id', id::text, 'revision', '1-' || id,
        'attributes', jsonb_build_object('id', jsonb_build_object('int', id::text)) || attributes)
$$;
-- Children before their parents, in two calls and in one.
select id, status, reason from godwit.put_revisions('villagers', jsonb_build_array(
    first(1, '{"household": {"int": "7"}, "name": {"string": "Amina"}}'),
    first(2, '{"household": {"int": "8"}}'), first(3, '{"head": {"int": "4"}}'), first(4, '{"head": {"int": "5"}}'), first(5, '{}')));
select record_id, revision, sqlstate, by from waiting order by record_id;
select status from godwit.put_revisions('hamlets', jsonb_build_array(first(7, '{"village": {"string": "Kita"}}')));
select id, name, household from villagers order by id;
select record_id from waiting;
-- A child of a child: the grandparent brings both.
select status from godwit.put_revisions('villagers', jsonb_build_array(first(6, '{"head": {"int": "2"}}')));
select status from godwit.put_revisions('hamlets', jsonb_build_array(first(8, '{"village": {"string": "Segou"}}')));
select id, household, head from villagers order by id;
select count(*) from waiting;
-- One bad revision doesn't stop the thousand beside it.
select status, count(*) from godwit.put_revisions('hamlets', (select jsonb_agg(first(n,
    case when n = 500 then '{}' when n = 700 then '{"village": {"int": "1"}, "code": {"string": "a"}}'
         when n = 900 then '{"village": {"string": "b"}, "code": {"string": "a"}}'
         else jsonb_build_object('village', jsonb_build_object('string', n::text)) end)) from generate_series(101, 1900) n)) group by 1 order by 1;
select record_id, sqlstate, reason, detail from waiting order by record_id;
-- Whose way is free now comes in.
select id, status, reason from godwit.retry_rejected('hamlets') order by id;
update hamlets set code = null where id = 700;
select id, status from godwit.retry_rejected('hamlets') order by id;
select id, village, code from hamlets where id in (500, 900);
-- The same revision put again and accepted waits no longer; another body of it does.
alter table hamlets alter village drop not null;
select status from godwit.put_revisions('hamlets', jsonb_build_array(first(500, '{}')));
select count(*) from waiting;
select status from godwit.put_revisions('hamlets', jsonb_build_array(first(500, '{"village": {"string": "other"}}')));
select status from godwit.put_revisions('hamlets', jsonb_build_array(first(500, '{}')));
select record_id, sqlstate from waiting;
-- Its owner sees and discards it, nobody else.
create role owner_role;
create role other_role;
grant all on hamlets to other_role;
alter table hamlets owner to owner_role;
set role other_role;
select count(*) from waiting;
select godwit.discard_rejected('hamlets', array(select number from waiting));
select count(*) from godwit.retry_rejected('hamlets');
select count(*) from godwit.retry_rejected('villagers');
set role owner_role;
select record_id, by from waiting;
select godwit.discard_rejected('hamlets', array(select number from waiting));
select count(*) from waiting;
reset role;
select godwit.retry_rejected('hamlets', 0);
-- However many wait for other parents, one that comes looks at what waits for it.
create table wards (id int primary key);
create table wells (id int primary key, ward int references wards);
select godwit.track('wards'), godwit.track('wells');
select status, count(*) from godwit.put_revisions('wells', (select jsonb_agg(first(n, jsonb_build_object('ward', jsonb_build_object('int', n::text)))) from generate_series(1, 500) n)) group by 1;
analyze godwit.rejected;
create function looked_at() returns bigint language sql volatile as $$
    select pg_stat_get_xact_tuples_returned('godwit.rejected'::regclass) + pg_stat_get_xact_tuples_fetched('godwit.rejected'::regclass)
$$;
begin;
select looked_at() as before \gset
select status from godwit.put_revisions('wards', jsonb_build_array(first(1000, '{}'), first(7, '{}')));
select looked_at() - :before < 20 as few;
select id, ward from wells;
rollback;
drop table wards, wells; drop table wards_history, wells_history;
drop function looked_at;
select * from differences('villagers') union all select * from differences('hamlets');
drop view waiting;
drop table villagers, hamlets;
drop table villagers_history, hamlets_history;
drop function first;
drop role owner_role, other_role;

-- An app's own SQLSTATE is kept on the way: in what is refused, and in the error that a put raises.
create table made_up (id int primary key, a text);
select from godwit.track('made_up');
create function made_up() returns trigger language plpgsql as $$
begin
    if new.a like 'no %' then
        raise exception '%', new.a using errcode = 'P0099', hint = 'Say yes.';
    end if;
    return new;
end $$;
create trigger made_up before insert on made_up for each row execute function made_up();
select status, reason from godwit.put_revisions('made_up', '[
    {"id": "1", "revision": "1-a1", "attributes": {"a": {"string": "no one"}}},
    {"id": "2", "revision": "1-a2", "attributes": {"a": {"string": "yes"}}}]');
select sqlstate, reason from godwit.rejected where relation = 'made_up'::regclass;
do $$
begin
    perform godwit.put('made_up', '{"id": "3", "attributes": {"a": {"string": "no way"}}}');
exception when sqlstate 'P0099' then raise notice '%: %', sqlstate, sqlerrm;
end $$;
\set VERBOSITY sqlstate
select from godwit.put('made_up', '{"id": "3", "attributes": {"a": {"string": "no way"}}}');
insert into made_up values (3, 'no way');
\set VERBOSITY terse
-- A schema of the caller's own before pg_catalog changes nothing.
create schema ahead;
create function ahead.same(oid, oid) returns boolean language plpgsql as
    $$ begin raise exception 'called ahead of pg_catalog'; end $$;
create operator ahead.= (leftarg = oid, rightarg = oid, function = ahead.same);
create domain ahead.text as pg_catalog.text check (value is null);
create table keyed (id text primary key);
select from godwit.track('keyed');
set search_path = ahead, pg_catalog, public;
select status from godwit.put_revisions('keyed', '[{"id": "1", "revision": "1-a1"}, {"id": "1", "revision": "2-b1", "deleted": true}]');
select godwit.put('keyed', '{"id": "2"}') ->> 'id';
reset search_path;
select status, reason from godwit.put_revisions('keyed', '[{"id": "1", "revision": "1-a1", "deleted": true}]');
drop schema ahead cascade;
drop table made_up, made_up_history, keyed, keyed_history;
drop function made_up();
-- Rows that need each other by a trigger alone, against the order of their ids, one of a batch refused: they are put in the
-- order in which they came, and none is tried as often as there are rows.
create table links (id text primary key, after text, v text check (v <> 'refused'));
create sequence tries;
create function is_there() returns trigger language plpgsql as $$
begin
    perform nextval('tries');
    if new.after is not null and not exists (select from links where id = new.after) then
        raise exception '% comes before %', new.id, new.after;
    end if;
    return new;
end $$;
create trigger there before insert or update on links for each row execute function is_there();
select godwit.track('links');
select status, count(*) from godwit.put_revisions('links', (
    select jsonb_agg(jsonb_build_object('id', 'r' || (900 - g), 'revision', '1-a', 'attributes', jsonb_build_object(
               'v', jsonb_build_object('string', case g when 200 then 'refused' else 'v' end),
               'after', case when g in (1, 200, 201) then '{"null": true}' else jsonb_build_object('string', 'r' || (901 - g)) end)) order by g)
      from generate_series(1, 300) g)) group by 1 order by 1;
select last_value < 3000 as is_few from tries;
select count(*) from links;
select record_id, reason from godwit.rejected where relation = 'links'::regclass;
select * from differences('links');
drop table links, links_history;
drop function is_there();
drop sequence tries;
-- What another session held is tried by the next batch of who sent it, and by nobody else's. Where that has not the right to,
-- it is left as it is, and the batch goes on.
create table held (id text primary key, v int);
create function asks_for_a_right() returns trigger language plpgsql as $$
begin
    if new.v = 13 then raise insufficient_privilege; end if;
    return new;
end $$;
create trigger asks before insert on held for each row execute function asks_for_a_right();
select godwit.track('held');
insert into godwit.rejected (relation, record_id, revision, record, sqlstate, reason, by)
select 'held', id, '1-a', jsonb_build_object('id', id, 'revision', '1-a', 'attributes', jsonb_build_object('v', jsonb_build_object('int', v))), '55P03', 'held', sender
  from (values ('denied', '13', current_user::text), ('mine', '1', current_user), ('theirs', '1', 'somebody')) e(id, v, sender);
select id, status from godwit.put_revisions('held', '[{"id": "other", "revision": "1-a", "attributes": {}}]');
select record_id, sqlstate, reason, by = current_user as is_mine from godwit.rejected where relation = 'held'::regclass order by 1;
select id, v from held order by 1;
drop table held, held_history;
drop function asks_for_a_right();
