-- One row per attempt. The primary key makes writing an entry twice harmless; nothing is ever deleted.
create table ledger (
  attempt_id text not null primary key,
  batch_id text not null,
  custom_id text not null,
  line integer not null,
  provider text not null,
  key_id text not null,
  key_name text not null,
  requested_model text not null,
  resolved_model text not null,
  outcome text not null,
  http_status integer,
  error_code text,
  -- ISO 8601, UTC, milliseconds: its order as text is its order in time, and its first ten characters are the day.
  started_at text not null,
  duration_ms integer,
  input_tokens integer,
  output_tokens integer,
  cached_tokens integer,
  reasoning_tokens integer,
  -- Billionths of a US dollar; null when unknown.
  cost_nano_usd integer,
  cost_source text not null,
  request_id text
) strict;

create index ledger_batch_id on ledger (batch_id);
create index ledger_started_at on ledger (started_at);
