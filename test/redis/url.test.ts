import { expect, test } from 'vitest';
import { installLine, parseServerVersion } from '../../src/redis/embedded-server.ts';
import { parseInfoReply } from '../../src/redis/embedded-probe.ts';
import { diagnose } from '../../src/redis/contact.ts';
import { hidePassword, parseRedisUrl } from '../../src/redis/url.ts';

test.each([
  ['redis://localhost', { kind: 'server', host: 'localhost', port: 6379, db: 0 }],
  ['redis://10.0.0.1:7000/3', { kind: 'server', host: '10.0.0.1', port: 7000, db: 3 }],
  ['redis://:p%40ss@h', { kind: 'server', host: 'h', port: 6379, db: 0, password: 'p@ss' }],
  ['redis://u:p@[::1]:7000', { kind: 'server', host: '::1', port: 7000, db: 0, username: 'u', password: 'p' }],
  ['redis://h?db=4', { kind: 'server', host: 'h', port: 6379, db: 4 }],
  [
    'rediss://redis.example.com',
    { kind: 'server', host: 'redis.example.com', port: 6379, db: 0, tls: { servername: 'redis.example.com' } },
  ],
  ['rediss://127.0.0.1:7000', { kind: 'server', host: '127.0.0.1', port: 7000, db: 0, tls: {} }],
  ['unix:///tmp/a%20b/redis.sock', { kind: 'socket', path: '/tmp/a b/redis.sock', db: 0 }],
  ['unix://u:p@/tmp/redis.sock?db=2', { kind: 'socket', path: '/tmp/redis.sock', db: 2, username: 'u', password: 'p' }],
  [
    'redis+sentinel://u:p@s1,s2:5000,[::1]/main/2?sentinel_password=q',
    {
      kind: 'sentinel',
      sentinels: [
        { host: 's1', port: 26379 },
        { host: 's2', port: 5000 },
        { host: '::1', port: 26379 },
      ],
      primary: 'main',
      db: 2,
      username: 'u',
      password: 'p',
      sentinelPassword: 'q',
    },
  ],
  [
    'rediss+sentinel://s1:5000/main',
    { kind: 'sentinel', sentinels: [{ host: 's1', port: 5000 }], primary: 'main', db: 0, tls: {} },
  ],
  [
    'redis+cluster://:p@n1:7000,n2',
    {
      kind: 'cluster',
      nodes: [
        { host: 'n1', port: 7000 },
        { host: 'n2', port: 6379 },
      ],
      password: 'p',
    },
  ],
  ['rediss+cluster://n1', { kind: 'cluster', nodes: [{ host: 'n1', port: 6379 }], tls: {} }],
])('%s is understood', (url, address) => {
  expect(parseRedisUrl(url)).toEqual(address);
});

test.each([
  ['localhost:6379', /unknown scheme/],
  ['http://:hunter2@h', /unknown scheme/],
  ['redis://:hunter2@', /host/],
  ['redis://u:hunter2/more@h', /percent-encoded/],
  ['redis://u:12/hunter2@h', /database that is not a number/],
  ['redis://:hunter2#@h', /percent-encoded/],
  ['redis://:hunter2%@h', /%25/],
  ['redis://h/x', /database/],
  ['redis://h?password=hunter2', /unknown parameter "password"/],
  ['redis://u:hunter2@h?ca=/etc/ca.pem', /unknown parameter "ca"/],
  ['rediss://u:hunter2@h?ca=/nonexistent.pem', /"ca" is \/nonexistent\.pem: there is no such file/],
  ['rediss://u:hunter2@h?cert=/dev/null', /"cert" without "key"/],
  ['redis+sentinel://:hunter2@s1:26379', /no name of the primary/],
  ['redis+sentinel://:hunter2@s1,s2:x/main', /"s2:x" is no host/],
  ['redis+sentinel://s1/main?sentinel_pass=hunter2', /unknown parameter "sentinel_pass"/],
  ['redis+cluster://:hunter2@n1,,n2', /"" is no host/],
  ['redis+cluster://:hunter2@n1/3', /only database 0/],
  ['redis+other://:hunter2@h', /unknown scheme/],
  ['unix://tmp/redis.sock', /third "\/"/],
  ['', /expected redis:/],
])('%s is refused without its password', (url, message) => {
  const parse = () => parseRedisUrl(url);
  expect(parse).toThrow(message);
  expect(parse).not.toThrow('hunter2');
});

test('a URL is shown with its user and without its password', () => {
  expect(hidePassword('redis://bob:hunter2@h:1/2')).toBe('redis://bob:***@h:1/2');
  expect(hidePassword('redis://:hunter2@h?db=3')).toBe('redis://:***@h?db=3');
  expect(hidePassword('redis://h:1')).toBe('redis://h:1');
  expect(hidePassword('redis+sentinel://bob:hunter2@s1,s2/main?sentinel_password=hunter2')).toBe(
    'redis+sentinel://bob:***@s1,s2/main?sentinel_password=***',
  );
  expect(hidePassword('rediss+cluster://bob:hunter2@n1?ca=/ca.pem')).toBe('rediss+cluster://bob:***@n1?ca=/ca.pem');
});

test.each([
  ['debian', 'ID=debian\n', 'sudo apt-get install -y redis-server'],
  ['mint', 'ID=linuxmint\nID_LIKE="ubuntu debian"\n', 'sudo apt-get install -y redis-server'],
  ['fedora', 'ID=fedora\n', 'sudo dnf install -y redis || sudo dnf install -y valkey'],
  ['alpine', 'ID="alpine"\n', 'sudo apk add redis'],
  ['suse', 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', 'sudo zypper install -y redis'],
])('%s has its line to install Redis', (_name, osRelease, line) => {
  expect(installLine('linux', osRelease, false)).toBe(line);
  expect(installLine('linux', osRelease, true)).toBe(line.replaceAll('sudo ', ''));
  expect(installLine('darwin', osRelease, false)).toBe('brew install redis');
});

test('both products print a version that is understood', () => {
  expect(parseServerVersion('Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64')).toBe('7.0.15');
  expect(parseServerVersion('Valkey server v=8.1.0 sha=0 malloc=libc bits=64')).toBe('8.1.0');
  expect(parseServerVersion('something else')).toBeNull();
});

test.each([
  ['$31', null],
  ['$31\r\nprocess_id:12\r\nloading:1', null],
  ['$25\r\nprocess_id:12\r\nloading:1\r\n\r\n', { state: 'loading', pid: 12 }],
  ['$25\r\nprocess_id:12\r\nloading:0\r\n\r\n', { state: 'ready', pid: 12 }],
  ['-LOADING Redis is loading the dataset in memory\r\n', { state: 'loading', pid: null }],
  ['-BUSY Redis is busy running a script\r\n', { state: 'ready', pid: null }],
])('the reply %j to INFO is read', (reply, answer) => {
  expect(parseInfoReply(reply)).toEqual(answer);
});

test.each([
  ['WRONGPASS invalid username-password pair or user is disabled.', '', true],
  ['NOAUTH HELLO must be called with the client already authenticated', '', true],
  ['ERR DB index is out of range', '', true],
  ['connect ECONNREFUSED 127.0.0.1:1', 'ECONNREFUSED', false],
  ['getaddrinfo ENOTFOUND nowhere.invalid', 'ENOTFOUND', false],
  ['self-signed certificate', 'DEPTH_ZERO_SELF_SIGNED_CERT', true],
  ['SENTINELAUTH NOAUTH Authentication required.', '', true],
  ['NOPRIMARY "main"', '', true],
  ['CLUSTERDOWN The cluster is down', '', false],
  ['alert certificate required', 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', true],
  ['something new', '', false],
])('"%s" is worth another try only where waiting may help', (message, code, isFinal) => {
  expect(diagnose(Object.assign(new Error(message), { code }), false).isFinal).toBe(isFinal);
});
