-- A column that was renamed and given another type, in either order: what it was before is still found.
\set SHOW_CONTEXT never
create table farms (id int primary key, phone text, size int, old text);
select godwit.track('farms');
insert into farms values (1, '70', 3, 'gone'), (2, '71', 4, 'gone');
alter table farms drop column old;
alter table farms rename column phone to tel;
insert into farms values (3, '72', 5);
alter table farms alter column tel type int using tel::int;
alter table farms alter column size type text;
alter table farms rename column size to old;
-- No row shows anything else than a cast of what its revision says.
create function farms_now() returns table (id int, tel int, old text, generation bigint) language plpgsql as $$ begin
    return query select f.id, f.tel, f.old, godwit.generation(f._rev) from farms f order by 1; end $$;
select * from farms_now();
select id, tel, old from godwit.as_of(null::farms, (select max(_seq) from farms_history where _id = '3')) order by id;
-- Who has heard of neither is understood.
select status from farms f, godwit.put_revisions('farms', jsonb_build_array(jsonb_build_object('id', '1', 'revision', '2-zz', 'revisions', jsonb_build_array('2-zz', f._rev),
    'attributes', '{"id": {"int": "1"}, "phone": {"string": "99"}, "size": {"int": "8"}}'::jsonb))) where f.id = 1;
select * from farms_now();
-- An older revision that is shown again is shown through the newer columns.
select _rev as first from farms where id = 2 \gset
update farms set tel = 80 where id = 2;
select status from godwit.put_revisions('farms', jsonb_build_array(jsonb_build_object('id', '2', 'revision', '2-zz', 'revisions', jsonb_build_array('2-zz', :'first'),
    'attributes', '{"id": {"int": "2"}, "phone": {"string": "81"}, "size": {"int": "9"}}'::jsonb)));
select * from farms_now();
alter table farms rename column tel to phone;
alter table farms rename column old to size;
select revision, record -> 'attributes' as attributes from godwit.history('farms', '1') order by seq;
select * from godwit.verify('farms');
select * from differences('farms');
drop table farms, farms_history;
drop function farms_now;
