import path from 'node:path';
import { expect, test } from 'vitest';
import type { DoctorReport } from '../../src/doctor/doctor.ts';
import { startProcess } from '../support/process.ts';
import { callsOf, createWard, problems, simulate, type Ward } from './ward.ts';

const bin = path.resolve(import.meta.dirname, '../../bin/nightshift.ts');

async function nightshift(ward: Ward, args: string[]) {
  const started = startProcess([bin, 'doctor', ...args], { cwd: ward.dir, env: ward.env });
  return { code: await started.ended, stdout: started.stdout(), stderr: started.stderr() };
}

test('the command ends with 0 when all is well, on an embedded Redis, and says that it sent nothing', async () => {
  const { simulator, keys } = await simulate({ keys: [{ name: 'team-a' }] });
  const ward = createWard({ baseUrl: simulator.baseUrl, keys, redisUrl: null });
  const { code, stdout, stderr } = await nightshift(ward, []);
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^team-a\n {2}ok +key +the provider accepts it/m);
  expect(stdout).toMatch(/\nno problems, no warnings, \d+ ok\.\nNothing was sent\./);
  expect(callsOf(simulator)).toBe(0);
});

test('with half a token and a revoked key it ends with 1, with the cures and without a secret', async () => {
  const { simulator, keys } = await simulate({ keys: [{ name: 'good' }, { name: 'dead', revoked: true }] });
  const half = keys['good']?.split(':')[0] ?? '';
  const ward = createWard({ baseUrl: simulator.baseUrl, keys: { ...keys, half } });
  const { code, stdout, stderr } = await nightshift(ward, []);
  expect({ code, stderr }, stdout).toEqual({ code: 1, stderr: '' });
  expect(stdout).toMatch(/^half\n {2}PROBLEM +key +half a token\n +seen: .*\n +cure: copy the whole token/m);
  expect(stdout).toMatch(/^dead\n {2}PROBLEM +key +the key is revoked\n +seen: HTTP 401 .*\n +cure: make a new key/m);
  expect(stdout).toMatch(/^good\n {2}ok +key/m);
  for (const part of Object.values(keys).flatMap((secret) => secret.split(':'))) expect(stdout).not.toContain(part);
});

test('--json is one object, and a Redis that is away is a problem in it', async () => {
  const { simulator, keys } = await simulate({ keys: [{ name: 'a' }] });
  const ward = createWard({ baseUrl: simulator.baseUrl, keys, redisUrl: 'redis://127.0.0.1:1' });
  ward.env['NIGHTSHIFT_REDIS_PATIENCE_MS'] = '300';
  const { code, stdout } = await nightshift(ward, ['--send', '--json']);
  const report = JSON.parse(stdout) as DoctorReport;
  expect({ code, ok: report.ok }).toEqual({ code: 1, ok: false });
  expect(problems(report).map(({ check }) => check)).toEqual(['redis']);
  for (const finding of report.findings) {
    expect(Object.keys(finding).toSorted()).toEqual(['check', 'cure', 'evidence', 'level', 'subject', 'what']);
    expect(finding.cure === null).toBe(finding.level === 'ok');
  }
});
