/** What goes wrong in a soak: a bad day at a provider. Nothing of it is billed, so that both books can be compared. */
import type { ScenarioInput } from '../src/simulator/scenario.ts';

export const soakFaults: NonNullable<ScenarioInput['faults']> = [
  { kind: 'status', status: 500, retryable: true, rate: 0.01, billed: false },
  { kind: 'status', status: 503, rate: 0.01, billed: false },
  { kind: 'reset', rate: 0.01, billed: false },
  { kind: 'cut_body', rate: 0.01, billed: false },
  { kind: 'hang', rate: 0.005, billed: false },
  { kind: 'html_502', rate: 0.01, billed: false },
];
