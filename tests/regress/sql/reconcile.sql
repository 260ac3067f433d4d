-- Whoever adds a revision to a twin, the winner is elected anew and the table follows.
create table t (id text primary key, v text);
select godwit.track('t');
insert into t_history (_id, _rev, id, v) values ('a', '1-a', 'a', 'by hand');
select * from t;
insert into t_history (_id, _rev, _prev, id, v) values ('a', '2-a', '1-a', 'a', 'two'), ('a', '2-b', '1-a', 'a', 'higher');
select * from t;
insert into t_history (_id, _rev, _prev, _deleted) values ('a', '3-a', '2-b', true);
select * from t;
insert into t_history (_id, _rev, _prev, _deleted) values ('a', '3-b', '2-a', true);
select * from t;
insert into t_history (_id, _rev, _prev, id, v) values ('a', '4-a', '3-b', 'a', 'back');
select * from t;
-- 10 is above 9, and a tombstone never wins.
insert into t_history (_id, _rev, id, v) values ('b', '9-f', 'b', 'nine'), ('b', '10-a', 'b', 'ten');
select * from t where id = 'b';
insert into t_history (_id, _rev, _prev, _deleted) values ('b', '11-a', '10-a', true);
select * from t where id = 'b';
-- In a savepoint that is rolled back the table goes back too.
begin;
savepoint s;
insert into t_history (_id, _rev, id, v) values ('b', '12-a', 'b', 'twelve');
select v from t where id = 'b';
rollback to s;
select v from t where id = 'b';
commit;
select * from differences('t');
