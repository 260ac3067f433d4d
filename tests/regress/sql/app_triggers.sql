-- Triggers of the app's own: they change the row, write elsewhere, write to the same table.
create table orders (id int primary key, state text, changed int not null default 0);
create table log (id int generated always as identity primary key, line text);
select godwit.track('orders'), godwit.track('log');
-- Sorts after almost anything, and still its change is in the hash.
create function touch() returns trigger language plpgsql as
    $$ begin new.changed := new.changed + 1; return new; end $$;
create trigger zzz_touch before insert or update on orders for each row execute function touch();
insert into orders values (1, 'new');
update orders set state = 'paid' where id = 1;
select * from orders;
select body_differences('orders');
-- One that is fired in the middle of a statement edits rows that this statement has just made.
create function echo() returns trigger language plpgsql as $$
begin
    insert into log (line) values (tg_op || ' ' || new.id);
    if new.state = 'split' then
        update orders set state = 'part' where id in (new.id, new.id + 1) and state <> 'part';
    end if;
    return null;
end $$;
create trigger echo after insert or update on orders for each row execute function echo();
insert into orders values (10, 'split'), (11, 'split');
update orders set state = 'split' where id in (10, 11);
select id, state, changed, godwit.generation(_rev) from orders order by id;
select h._id, godwit.generation(h._rev) as generation, h.state,
       o._seq is null or o._seq < h._seq as after_its_parent
  from orders_history h left join orders_history o on o._id = h._id and o._rev = h._prev
 order by h._id, h._rev;
select count(*) from log_history;
-- Or deletes them.
create function drop_it() returns trigger language plpgsql as
    $$ begin delete from orders where id = new.id; return null; end $$;
create trigger drop_it after update on orders for each row when (new.state = 'void') execute function drop_it();
update orders set state = 'void' where id = 1;
select godwit.generation(_rev), _deleted, state from orders_history where _id = '1' order by _rev;
-- A cascade.
create table parts (id int primary key, of int references orders on delete cascade on update cascade);
select godwit.track('parts');
insert into parts values (1, 10), (2, 10), (3, 11);
delete from orders where id = 10;
update orders set id = 12 where id = 11;
select _id, _deleted, of from parts_history order by _id, _rev;
-- What sync writes is what the revision says, though a BEFORE trigger would have it otherwise.
select status from godwit.put_revisions('orders',
    '[{"id": "50", "revision": "1-a", "attributes": {"id": {"int": "50"}, "state": {"string": "synced"}, "changed": {"int": "41"}}}]');
select id, state, changed, _rev from orders where id = 50;
select * from differences('orders');
select * from differences('log');
select * from differences('parts');
select body_differences('orders');
-- What an AFTER trigger writes to a row that sync has just written is an edit, whether the row was there or not.
create table counted (id text primary key, v text, seen int);
select godwit.track('counted');
create function count_it() returns trigger language plpgsql as $$ begin
    insert into counted values (new.id, 'never', 1), (new.id || '!', 'beside', 1)
        on conflict (id) do update set seen = coalesce(counted.seen, 0) + 1;
    return null;
end $$;
create function peers(revision text, ids text[]) returns jsonb language sql as $$
    select jsonb_agg(jsonb_build_object('id', id, 'revision', revision, 'attributes', '{"v": {"string": "peer"}}'::jsonb))
      from unnest(ids) id
$$;
create trigger count_it after insert or update of _rev on counted for each row
    when (pg_trigger_depth() = 0 and new.v = 'peer') execute function count_it();
select id, status from godwit.put_revisions('counted', peers('1-a', '{a,a!,b}'));
select id, v, seen, _rev::text like '2-%' as edited from counted order by id;
select id, status from godwit.put_revisions('counted', peers('7-a', '{b}'));
select id, v, seen, godwit.generation(_rev) from counted order by id;
select status from godwit.put_revisions('counted', peers('7-a', '{b}'));
select * from differences('counted');
select body_differences('counted');
select * from godwit.verify('counted');
drop table counted, counted_history;
drop function count_it(), peers(text, text[]);
-- A trigger that keeps the row out: the revision is rejected and says why.
create function no_row() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger no_row before insert on orders for each row when (new.state = 'hidden') execute function no_row();
select status, reason from godwit.put_revisions('orders',
    '[{"id": "51", "revision": "1-a", "attributes": {"id": {"int": "51"}, "state": {"string": "hidden"}, "changed": {"int": "1"}}}]');
insert into orders values (52, 'hidden');
select * from differences('orders');
select count(*) from orders_history where _id in ('51', '52');
