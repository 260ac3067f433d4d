-- Columns that a primary key only includes are none of the record's id.
\set VERBOSITY terse
create table stock (id int, name text, amount int, primary key (id) include (name, amount));
select godwit.track('stock');
select key, key_types from godwit.tracked where relation = 'stock'::regclass;
insert into stock values (1, 'rice', 5), (2, 'salt', 7);
update stock set name = 'white rice' where id = 1;
select _id, godwit.generation(_rev), _deleted, name from stock_history order by _seq;
select status from godwit.put_revisions('stock', '[
    {"id": "3", "revision": "1-a", "attributes": {"id": {"int": "3"}, "name": {"string": "oil"}}},
    {"id": "2", "revision": "2-a", "attributes": {"id": {"int": "2"}, "name": {"string": "sea salt"}}}]') order by ord;
select id, name, amount from stock order by id;
delete from stock where id = 1;
select id, deleted from godwit.changes(tables => '{stock}', style => 'leaves') where id is not null order by id;
select * from godwit.verify('stock');
-- What was tracked when they were parts of the id is not taken for something else.
\c -
\set VERBOSITY terse
update godwit.tracked set key = '{id,name,amount}' where relation = 'stock'::regclass;
insert into stock values (9, 'tea', 1);
delete from stock;
update godwit.tracked set key = '{id}' where relation = 'stock'::regclass;
insert into stock values (9, 'tea', 1);
-- A document table's key may be such a one, too.
create table notes (_id text, body text, primary key (_id) include (body));
select godwit.track('notes');
insert into notes values ('a', 'text');
select _id, body from notes_history;
drop table stock, notes; drop table stock_history, notes_history;
