-- How long a streamed answer's first token took; null where nothing was streamed.
alter table ledger add column first_token_ms integer;
