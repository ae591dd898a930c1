import { describe, expect, it, test } from 'vitest';
import { createCircuit, defaultCircuitRules, type CircuitRules } from '../../src/provider/circuit.ts';

const rules: CircuitRules = { failuresToOpen: 3, firstPauseMs: 1000, longestPauseMs: 4000, giveUpAfterMs: 60_000 };

type Step = 'go' | `wait ${number}` | 'give_up' | 'fail' | 'succeed' | 'undecided';

/** Each row is [clock in ms, what happens]: `fail`, `succeed`, `undecided` tell it, anything else is asked for. */
function play(steps: [number, Step][], given = rules): void {
  const circuit = createCircuit(given);
  for (const [nowMs, step] of steps) {
    if (step === 'fail') circuit.failed(nowMs, `cause at ${nowMs}`);
    else if (step === 'succeed') circuit.succeeded();
    else if (step === 'undecided') circuit.undecided();
    else {
      const answer = circuit.ask(nowMs);
      expect(answer.tag === 'wait' ? `wait ${answer.waitMs}` : answer.tag, `at ${nowMs}`).toBe(step);
    }
  }
}

const opened: [number, Step][] = [
  [0, 'fail'],
  [0, 'fail'],
  [0, 'fail'],
];

/** Trials that fail, one pause after the other: the outage goes on until the time given. */
function outageUntil(endMs: number): [number, Step][] {
  const steps = [...opened];
  for (let nowMs = 0, pauseMs = 1000; nowMs + pauseMs < endMs; pauseMs = Math.min(4000, pauseMs * 2)) {
    nowMs += pauseMs;
    steps.push([nowMs, 'go'], [nowMs, 'fail']);
  }
  return steps;
}

const table: [string, [number, Step][]][] = [
  [
    'lets everything through at first',
    [
      [0, 'go'],
      [0, 'go'],
      [5, 'go'],
    ],
  ],
  [
    'lets everything through while failures are few',
    [
      [0, 'fail'],
      [1, 'fail'],
      [2, 'go'],
      [2, 'go'],
    ],
  ],
  [
    'a success starts the count anew',
    [
      [0, 'fail'],
      [0, 'fail'],
      [0, 'succeed'],
      [0, 'fail'],
      [0, 'fail'],
      [1, 'go'],
    ],
  ],
  ['opens at the last failure of a row', [...opened, [0, 'wait 1000'], [400, 'wait 600']]],
  ['lets one trial through after the pause', [...opened, [1000, 'go'], [1000, 'wait 1000'], [1900, 'wait 1000']]],
  ['a trial that succeeds closes it', [...opened, [1000, 'go'], [1100, 'succeed'], [1100, 'go'], [1100, 'go']]],
  [
    'a trial that fails doubles the pause, up to the longest',
    [
      ...opened,
      [1000, 'go'],
      [1100, 'fail'],
      [1100, 'wait 2000'],
      [3100, 'go'],
      [3200, 'fail'],
      [3200, 'wait 4000'],
      [7200, 'go'],
      [7300, 'fail'],
      [7300, 'wait 4000'],
    ],
  ],
  ['a trial that was never sent makes way for the next', [...opened, [1000, 'go'], [1000, 'undecided'], [1001, 'go']]],
  [
    'calls that were out when it opened do not lengthen the pause',
    [...opened, [500, 'fail'], [900, 'fail'], [1000, 'go']],
  ],
  [
    'the pause is short again after a success',
    [
      ...outageUntil(20_000),
      [20_000, 'succeed'],
      ...opened.map(([, step]): [number, Step] => [21_000, step]),
      [21_000, 'wait 1000'],
    ],
  ],
  ['gives up when nothing has succeeded for long', [...outageUntil(59_000), [60_000, 'give_up'], [60_000, 'give_up']]],
  ['does not give up a millisecond sooner', [...outageUntil(59_000), [59_999, 'go']]],
  [
    'gives up while a trial hangs',
    [
      ...opened,
      [1000, 'go'],
      ...Array.from({ length: 14 }, (_, index): [number, Step] => [3000 + index * 4000, 'wait 1000']),
      [60_000, 'give_up'],
    ],
  ],
  [
    'goes on after giving up, when somebody resumes later',
    [
      ...outageUntil(59_000),
      [60_000, 'give_up'],
      [75_000, 'go'],
      [75_000, 'wait 1000'],
      [75_500, 'succeed'],
      [75_500, 'go'],
    ],
  ],
  [
    'gives up again only after as long a time',
    [
      ...outageUntil(59_000),
      [60_000, 'give_up'],
      [75_000, 'go'],
      [75_100, 'fail'],
      [75_100, 'wait 2000'],
      [77_100, 'go'],
    ],
  ],
  [
    'an outage of long ago is no verdict on a new batch',
    [...opened, [3_600_000, 'go'], [3_600_100, 'succeed'], [3_600_100, 'go']],
  ],
  [
    'failures of long ago do not shorten the patience',
    [
      [0, 'fail'],
      [0, 'fail'],
      [3_600_000, 'fail'],
      [3_600_000, 'wait 1000'],
      [3_601_000, 'go'],
    ],
  ],
  [
    'a trial that got lost is replaced when work comes back',
    [...opened, [1000, 'go'], [1500, 'wait 1000'], [100_000, 'go']],
  ],
];

describe('the circuit', () => {
  test.each(table)('%s', (_, steps) => {
    play(steps);
  });

  it('gives the latest cause', () => {
    const circuit = createCircuit(rules);
    for (const nowMs of [0, 1, 2]) circuit.failed(nowMs, `cause ${nowMs}`);
    circuit.ask(1002);
    circuit.failed(59_000, 'HTTP 503');
    expect(circuit.ask(60_000)).toEqual({ tag: 'give_up', cause: 'HTTP 503' });
  });

  it('gives up within its time while all calls hang, however long they may take', () => {
    // Three lines, each call ends by its time limit after ten minutes; between them the others ask.
    const circuit = createCircuit();
    for (let call = 0; call < 12; call += 1) circuit.failed(0, 'timeout');
    expect(circuit.ask(1000).tag).toBe('go');
    for (let nowMs = 2000; nowMs < defaultCircuitRules.giveUpAfterMs; nowMs += 1000) {
      expect(circuit.ask(nowMs).tag).toBe('wait');
    }
    expect(circuit.ask(defaultCircuitRules.giveUpAfterMs).tag).toBe('give_up');
  });

  it('costs a provider that is down few calls', () => {
    const circuit = createCircuit();
    let calls = 0;
    for (let nowMs = 0; nowMs < 590_000; nowMs += 100) {
      if (circuit.ask(nowMs).tag !== 'go') continue;
      calls += 1;
      circuit.failed(nowMs, 'connect');
    }
    expect(calls).toBeLessThan(40);
  });

  it('tells when it opens and when it closes again, each once', () => {
    const told: string[] = [];
    const circuit = createCircuit(rules, { onOpen: (cause) => told.push(cause), onClose: () => told.push('closed') });
    circuit.succeeded();
    for (const nowMs of [0, 1, 2, 3]) circuit.failed(nowMs, `cause ${nowMs}`);
    circuit.succeeded();
    circuit.succeeded();
    expect(told).toEqual([`cause ${rules.failuresToOpen - 1}`, 'closed']);
  });
});
