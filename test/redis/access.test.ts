/** A Redis that speaks TLS only, with a private authority, and gives each user no more rights than needed. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createLog } from '../../src/log.ts';
import { openRedis } from '../../src/redis/connect.ts';
import { createWorld, expectExit, readResults, writeInput } from '../e2e/support.ts';
import { freePort } from '../support/wait.ts';
import { deniedIn, leastRights } from './rights.ts';
import { startServer } from './servers.ts';

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

type Certificates = { ca: string; server: string[]; client: { cert: string; key: string } };

/** An authority, and by it a certificate for `localhost` and one for a client. */
function makeCertificates(): Certificates {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-tls-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const file = (name: string) => path.join(dir, name);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'ignore' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...newKey, '-days', '1', '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=authority');
  for (const name of ['server', 'client']) {
    writeFileSync(file(`${name}.ext`), 'subjectAltName=DNS:localhost\n');
    openssl('req', ...newKey, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '1', '-extfile', `${name}.ext`];
    openssl('x509', '-req', '-in', `${name}.csr`, ...signed, '-out', `${name}.pem`);
  }
  const [ca, cert, key] = [file('ca.pem'), file('server.pem'), file('server.key')];
  const server = ['--tls-ca-cert-file', ca, '--tls-cert-file', cert, '--tls-key-file', key];
  return { ca, server, client: { cert: file('client.pem'), key: file('client.key') } };
}

test.skipIf(!hasOpenssl)(
  'a batch runs over TLS with a private authority and a client certificate, as a user with the least rights',
  async () => {
    const { ca, server, client } = makeCertificates();
    const tlsPort = await freePort();
    const redis = await startServer(['--tls-port', `${tlsPort}`, ...server]);
    await redis.ask('ACL', 'SETUSER', 'nightshift', 'on', '>p@ss', ...leastRights);
    const open = (query: string) => `rediss://nightshift:p%40ss@localhost:${tlsPort}${query}`;
    const all = `?ca=${ca}&cert=${client.cert}&key=${client.key}`;
    for (const [query, message] of [
      ['', /certificate is not trusted; .*ca=/],
      [`?ca=${ca}`, /wants a certificate of its clients.*cert=/],
    ] as const) {
      const opening = openRedis({ url: open(query), dataDir: '/none', log: createLog('silent'), giveUpAfterMs: 500 });
      await expect(opening).rejects.toThrow(message);
    }

    const world = await createWorld({ redisUrl: open(all), config: { dailyBudgetUsd: 5 } });
    const ids = writeInput(world, { count: 60 });
    await redis.ask('ACL', 'LOG', 'RESET');
    expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out']), 0);
    expect(readResults(world, ids).errors).toEqual([]);
    for (const command of [['status'], ['keys', 'list'], ['keys', 'resume', 'a']]) {
      expectExit(await world.nightshift(command), 0);
    }
    const { stdout } = await world.nightshift(['doctor', '--json']);
    const { findings } = JSON.parse(stdout) as { findings: { check: string; level: string }[] };
    expect(findings.filter(({ check, level }) => check === 'redis' && level !== 'ok')).toEqual([]);
    expect(await deniedIn(redis)).toEqual([]);
  },
);
