-- Checkpoints: what a peer says of itself is merged, counts even when it goes back, and is its role's own.
\set SHOW_CONTEXT never
create table places (id text primary key, name text);
select godwit.track('places');
insert into places values ('a', 'Kita'), ('b', 'Segou');
create role peer_phone;
create role peer_laptop;
create role peer_stranger;
create role peer_operator in role pg_monitor;
grant select on places to peer_phone, peer_laptop;
create function shown() returns table (peer text, pulled bigint, pushed bigint, behind boolean, incarnation text, software text, owner text)
    language sql as $$ select peer, pulled, pushed, behind = godwit.last_sequence() - pulled, incarnation, software, owner from godwit.peers() $$;
set role peer_phone;
select godwit.put_peer('phone', '{"pulled": 1, "software": "app 1"}');
select * from shown();
select godwit.put_peer('phone', '{"pushed": 17, "incarnation": "abc"}');
select godwit.put_peer('phone', '{"pulled": 0, "software": null}');
select * from shown();
-- Another's isn't there, to read, to write or to forget.
set role peer_laptop;
select * from shown();
select godwit.put_peer('phone', '{"pulled": 2}');
select godwit.forget_peer('phone');
select godwit.put_peer('laptop', '{"pulled": 2}');
insert into godwit.peers (peer, owner) values ('forged', 'peer_phone');
update godwit.peers set owner = 'peer_phone';
-- Who has nothing to sync keeps nothing here; operators see all.
set role peer_stranger;
select godwit.put_peer('stranger', '{}');
set role peer_operator;
select * from shown();
select godwit.put_peer('laptop', '{"pulled": 1}');
select godwit.forget_peer('laptop');
reset role;
select godwit.put_peer('laptop', '{"pulled": 1}');
select * from shown();
select godwit.forget_peer('laptop'), godwit.forget_peer('laptop');
-- What isn't in its form.
select godwit.put_peer('', '{}');
select godwit.put_peer(null, '{}');
select godwit.put_peer(E'a\nb', '{}');
select godwit.put_peer(repeat('a', 257), '{}');
select godwit.put_peer('x', '[]');
select godwit.put_peer('x', null);
select godwit.put_peer('x', '{"pulled": -1}');
select godwit.put_peer('x', '{"pulled": 1.5}');
select godwit.put_peer('x', '{"pushed": 9007199254740992}');
select godwit.put_peer('x', '{"pushed": "7"}');
select godwit.put_peer('x', jsonb_build_object('software', repeat('a', 257)));
select godwit.put_peer('x', '{"owner": "me"}');
select first_seen < last_seen, peer from godwit.peers;
delete from godwit.peers;
drop function shown();
revoke all on places from peer_phone, peer_laptop;
drop role peer_phone, peer_laptop, peer_stranger, peer_operator;
drop table places cascade;
drop table places_history;
