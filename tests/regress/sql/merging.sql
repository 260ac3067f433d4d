-- Conflicts that a policy merges by itself; two databases that merge apart make the same.
\set SHOW_CONTEXT never
create table stores (id int primary key, name text, stock int, tags text[], price numeric(8,2), note text check (note <> 'bad'), seen date);
create table copies (like stores including all);
select godwit.track('stores'), godwit.track('copies');
create function longer(was text, ours text, theirs text) returns text immutable language sql as $$ select case when length(ours) >= length(theirs) then ours else theirs end $$;
create function random_one(was text, ours text, theirs text) returns text language sql as $$ select ours $$;
select godwit.set_policy('stores', '{"conflicts": "fields", "attributes": {"stock": "counter", "tags": "set", "seen": "max", "price": "min", "name": {"function": "public.longer"}}}');
select godwit.set_policy('copies', policy) from godwit.tracked where relation = 'stores'::regclass;
select policy from godwit.tracked where relation = 'copies'::regclass;
insert into stores select n, 'store ' || n, 100, '{a,b}', 9.50, 'none', '2026-01-01' from generate_series(1, 4) n;
create function replicate(source regclass, target regclass, of_id text) returns text language sql as $$
    select string_agg(distinct r.status, ' ') from godwit.put_revisions(target, (
        select jsonb_agg(godwit.get(source, of_id, h.revision, revisions => true) - 'table') from godwit.history(source, of_id) h where not h.stub)) r
$$;
select replicate('stores', 'copies', '1'), replicate('stores', 'copies', '2');
-- Both sell, here and there, and write down different things.
update stores set stock = stock - 3, tags = tags || '{c}', note = 'paint' where id = 1;
update copies set stock = stock - 4, tags = array_remove(tags, 'a') || '{d}', seen = '2026-02-01', name = 'store one' where id = 1;
select replicate('stores', 'copies', '1'), replicate('copies', 'stores', '1');
select id, name, stock, tags, price, note, seen from stores where id = 1 union all select id, name, stock, tags, price, note, seen from copies where id = 1;
select s._rev = c._rev as same_revision, godwit.generation(s._rev) from stores s join copies c using (id) where id = 1;
select revision = (select l.revision from godwit.leaves('copies', '1') l where l.deleted) as same_end, deleted from godwit.leaves('stores', '1') where deleted;
select count(*) from godwit.conflicts;
select godwit.get('stores', '1') -> 'attributes' -> '@merged' is not null as says_what_it_is_made_of;
update stores set note = 'wall' where id = 1;
select godwit.get('stores', '1') -> 'attributes' ? '@merged' as does_not_stay;
-- A late edit of a branch that was merged is counted once.
select status from godwit.put_revisions('stores', (select jsonb_build_array(jsonb_build_object('id', '1', 'revision', '3-late', 'revisions', jsonb_build_array('3-late', h.revision),
    'attributes', h.record -> 'attributes' || '{"stock": {"int": "90"}}'))
    from godwit.history('stores', '1') h where h.record -> 'attributes' -> 'stock' ->> 'int' = '96'));
select stock, note from stores where id = 1;
-- A hard conflict without a rule waits; so does one whose merge the table refuses.
update stores set note = 'here' where id = 2;
update copies set note = 'there' where id = 2;
select replicate('copies', 'stores', '2');
select id, grade, attributes from godwit.conflicts where relation = 'stores'::regclass;
alter table stores add check (stock > 50);
select godwit.put('stores', jsonb_build_object('id', '3', 'revision', _rev, 'attributes', '{"stock": {"int": "60"}}'::jsonb)) is not null from stores where id = 3;
select status from godwit.put_revisions('stores', (select jsonb_build_array(jsonb_build_object('id', '3', 'revision', '2-b', 'revisions', jsonb_build_array('2-b', h.revision),
    'attributes', h.record -> 'attributes' || '{"stock": {"int": "70"}}')) from godwit.history('stores', '3') h where h.previous is null));
select id, grade, attributes from godwit.conflicts where relation = 'stores'::regclass order by id;
alter table stores drop constraint stores_stock_check;
select godwit.merge_conflicts('stores');
select id, stock from stores where id = 3;
-- A put of a branch, and a policy that comes later.
select godwit.set_policy('stores', '{}');
select godwit.put('stores', jsonb_build_object('id', '4', 'revision', _rev, 'attributes', '{"stock": {"int": "99"}}'::jsonb)) is not null from stores where id = 4;
select godwit.put('stores', jsonb_build_object('id', '4', 'revision', h.revision, 'attributes', '{"note": {"string": "branch"}}'::jsonb), 'branch') is not null from godwit.history('stores', '4') h where h.previous is null;
select count(*) from godwit.conflicts where relation = 'stores'::regclass and id = '4';
select godwit.set_policy('stores', '{"conflicts": "fields"}');
select godwit.merge_conflicts('stores');
select stock, note from stores where id = 4;
select * from godwit.verify('stores') union all select * from godwit.verify('copies');
select * from differences('stores');
-- What a policy refuses.
select godwit.set_policy('stores', '{"conflicts": "maybe"}');
select godwit.set_policy('stores', '{"attributes": {"stock": "counter"}}');
select godwit.set_policy('stores', '{"conflicts": "fields", "attributes": {"nosuch": "counter"}}');
select godwit.set_policy('stores', '{"conflicts": "fields", "attributes": {"name": {"function": "public.nosuch"}}}');
select godwit.set_policy('stores', '{"conflicts": "fields", "attributes": {"name": {"function": "public.random_one"}}}');
select godwit.set_policy('stores', '{"conflicts": "fields", "attributes": {"name": {"function": "longer); drop table stores; --"}}}');
select godwit.merge_conflicts('stores', 0);
create role teller; grant all on stores to teller; set role teller;
select godwit.set_policy('stores', '{}');
reset role;
drop function replicate;
drop table stores, copies; drop table stores_history, copies_history;
drop function longer, random_one; drop role teller;
