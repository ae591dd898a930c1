-- Which ledger this is: batches name the one that their rows belong to, so that several can share a Redis.
create table identity (id text not null);
insert into identity values (lower(hex(randomblob(16))));
