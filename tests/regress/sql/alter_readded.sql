-- A column that is added under a dropped one's name is another: what its table was before shows none of the former's values.
\set SHOW_CONTEXT never
create table sheds (id int primary key, size text, kind text, roof text);
select godwit.track('sheds');
insert into sheds values (1, 'large', 'wood', 'tin'), (2, '7', 'stone', 'tin');
select max(_seq) as full from sheds_history \gset
alter table sheds drop column size;
alter table sheds drop column kind;
insert into sheds values (3, 'tin');
select max(_seq) as without from sheds_history \gset
alter table sheds add column size int default 5;
alter table sheds add column kind text;
alter table sheds rename column roof to cover;
alter table sheds add column roof text default 'none';
update sheds set kind = 'brick', size = 9, roof = 'slate' where id = 3;
select * from sheds order by id;
select id, size, kind, cover, roof from godwit.as_of(null::sheds, :full) order by id;
select id, size, kind, cover, roof from godwit.as_of(null::sheds, :without) order by id;
select id, size, kind, cover, roof from godwit.as_of(null::sheds, godwit.last_sequence()) order by id;
-- Nor does the table, where an old revision is shown again.
select _rev as first from sheds where id = 1 \gset
update sheds set cover = 'straw' where id = 1;
select status from sheds s, godwit.put_revisions('sheds', jsonb_build_array(
    jsonb_build_object('id', '1', 'revision', '3-gone', 'revisions', jsonb_build_array('3-gone', s._rev, :'first'), 'deleted', true, 'attributes', '{}'::jsonb),
    jsonb_build_object('id', '1', 'revision', '2-zz', 'revisions', jsonb_build_array('2-zz', :'first'), 'attributes', '{"id": {"int": "1"}, "roof": {"string": "old name"}}'::jsonb))) where s.id = 1;
select * from sheds order by id;
-- The revisions stay what they were.
select revision, record -> 'attributes' as attributes from godwit.history('sheds', '1') order by seq limit 1;
select * from godwit.verify('sheds');
select * from differences('sheds');
drop table sheds, sheds_history;
