/** A process: validates one file as `run` and `check` do, and tells how long it took. */
import os from 'node:os';
import { createInspect } from '../../src/batch/inspect.ts';
import { openInput } from '../../src/batch/input.ts';
import { validateInput } from '../../src/batch/validate.ts';
import { parseListing } from '../../src/provider/models.ts';
import { models } from './answer.ts';

export type ValidateTask = { file: string; /** Default: as nightshift chooses. */ threads?: number };
export type Validated = {
  ms: number;
  sizeBytes: number;
  lines: number;
  invalid: number;
  cpuMs: number;
  peakRssBytes: number;
};

const { file, threads } = JSON.parse(process.argv[2] ?? '') as ValidateTask;
const offer = { provider: { name: 'bench', kind: 'openai' as const }, listing: parseListing(models) };
const input = await openInput(file, { spoolDir: os.tmpdir() });
const startedAt = performance.now();
const cpuBefore = process.cpuUsage();
const { sizeBytes, lines, invalid } = await validateInput(input, {
  defaults: { model: null },
  spoolDir: os.tmpdir(),
  ...(threads !== undefined && { threads }),
  inspect: createInspect([offer], { aliases: {}, fallbacks: {}, dropUnsupported: false }),
});
const ms = performance.now() - startedAt;
const { user, system } = process.cpuUsage(cpuBefore);
const peakRssBytes = process.resourceUsage().maxRSS * 1024;
process.send?.({ type: 'validated', ms, peakRssBytes, cpuMs: (user + system) / 1000, sizeBytes, lines, invalid });
