import { expect, test } from 'vitest';
import { soakFaults } from '../../scripts/soak-faults.ts';
import { waitFor } from '../support/wait.ts';
import { createPlace, plainLines, readKeys, writeLines } from './place.ts';
import { endOf, expectExit, ledgerAndTruth, readResults } from './support.ts';

test('through a bad day of two providers, and with a key that dies and returns, every line ends exactly once', async () => {
  const windowMs = 2000;
  const scenario = { faults: soakFaults, latencyMs: { min: 10, max: 80 } };
  const place = await createPlace({
    providers: {
      privatemind: {
        windowMs,
        scenario: { ...scenario, events: [{ afterCalls: 60, do: { change: 'revoke_key', key: 'dying' } }] },
        keys: [
          { name: 'steady', rpm: 100 },
          { name: 'dying', rpm: 80 },
        ],
      },
      'curate-me': { windowMs, scenario, keys: [{ name: 'other', rpm: 60 }] },
    },
    config: { aliases: { 'curate-me': { fast: 'gpt-5-mini' } }, attemptTimeoutMs: 2000 },
  });
  const ids = writeLines(place, plainLines(600));
  const args = ['run', 'in.jsonl', '--out', 'out', '--attempts', '20', '--concurrency', '40'];
  const running = place.start(args);

  await waitFor(async () => (await readKeys(place))['dying']?.reason === 'revoked', { what: 'the key is dead' });
  place.control('privatemind', { change: 'restore_key', key: 'dying' });
  const answeredBefore = place.truth().keys['dying']?.answered ?? 0;
  expectExit(await place.nightshift(['keys', 'resume', 'dying']), 0);
  await waitFor(() => (place.truth().keys['dying']?.answered ?? 0) > answeredBefore, { what: 'the key is back' });

  expectExit(await endOf(running), 0);
  expect(readResults(place, ids).errors).toEqual([]);
  const struck = Object.values(place.simulators).flatMap((simulator) => Object.values(simulator.truth().faults));
  expect(struck.reduce((sum, times) => sum + times, 0)).toBeGreaterThan(10);
  const { ledger, provider } = ledgerAndTruth(place);
  expect(ledger).toEqual(provider);
});
