import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import { createSimulator } from '../../src/simulator/server.ts';
import { freePort } from '../support/wait.ts';
import { createBench, expectFailure, line, secret } from './command.ts';

const bench = createBench();
bench.file('good.jsonl', line('a'));

const runAgainst = (PMIND_BASE_URL: string, keys = secret) =>
  bench.nightshift(['run', 'good.jsonl', '--out', 'out'], { env: { PMIND_BASE_URL, PMIND_KEYS: keys } });

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const address = server.address();
  return `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`;
}

const page = '<!doctype html>\n<html>\n<body>Welcome to our site</body>\n</html>\n';

test('a base URL that answers 404 is named, with the variable that holds it', async () => {
  const url = await serve((_, response) => response.writeHead(404, { 'content-type': 'text/html' }).end(page));
  expectFailure(await runAgainst(url), 2, `${url}/v1/models`, '404', 'nothing was sent', 'PMIND_BASE_URL');
});

test('a base URL that answers with a web page is named', async () => {
  const url = await serve((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end(page));
  expectFailure(await runAgainst(url), 2, `${url}/v1/models is not a model listing`, 'an HTML page', 'PMIND_BASE_URL');
});

test('a provider that refuses the connection is named', async () => {
  const url = `http://127.0.0.1:${await freePort()}`;
  expectFailure(await runAgainst(url), 5, `at ${url}: `, 'ECONNREFUSED', 'nothing was sent', 'PMIND_BASE_URL');
});

test('https to a port that speaks plain HTTP is named as that', async () => {
  const url = (await serve((_, response) => response.end())).replace('http:', 'https:');
  expectFailure(await runAgainst(url), 5, `at ${url}: it does not speak TLS on this port`, 'PMIND_BASE_URL');
});

test('keys that are all revoked stop the run before anything is sent, each by its name', async () => {
  await using simulator = await createSimulator({ scenario: { keys: [{ name: 'a' }, { name: 'b' }] } });
  simulator.control(['a', 'b'].map((key) => ({ change: 'revoke_key' as const, key })));
  const tokens = simulator.keys.map(({ token }) => token);
  const ended = await runAgainst(simulator.baseUrl, tokens.join(','));
  expectFailure(
    ended,
    4,
    /every key was refused; nothing was sent:\n {2}.*privatemind-1.*revoked/,
    'privatemind-2',
    'Make new keys',
  );
  for (const token of tokens) expect(ended.stderr).not.toContain(token.split(':')[1]);
});
