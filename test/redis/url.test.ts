import { expect, test } from 'vitest';
import { installLine, parseServerVersion } from '../../src/redis/embedded-server.ts';
import { parseInfoReply } from '../../src/redis/embedded-probe.ts';
import { diagnose } from '../../src/redis/contact.ts';
import { hidePassword, parseRedisUrl } from '../../src/redis/url.ts';

test.each([
  ['redis://localhost', { host: 'localhost', port: 6379, db: 0 }],
  ['redis://10.0.0.1:7000/3', { host: '10.0.0.1', port: 7000, db: 3 }],
  ['redis://:p%40ss@h', { host: 'h', port: 6379, db: 0, password: 'p@ss' }],
  ['redis://u:p@[::1]:7000', { host: '::1', port: 7000, db: 0, username: 'u', password: 'p' }],
  ['redis://h?db=4', { host: 'h', port: 6379, db: 4 }],
  [
    'rediss://redis.example.com',
    { host: 'redis.example.com', port: 6379, db: 0, tls: { servername: 'redis.example.com' } },
  ],
  ['rediss://127.0.0.1:7000', { host: '127.0.0.1', port: 7000, db: 0, tls: {} }],
  ['unix:///tmp/a%20b/redis.sock', { path: '/tmp/a b/redis.sock', db: 0 }],
  ['unix://u:p@/tmp/redis.sock?db=2', { path: '/tmp/redis.sock', db: 2, username: 'u', password: 'p' }],
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
  ['something new', '', false],
])('"%s" is worth another try only where waiting may help', (message, code, isFinal) => {
  expect(diagnose(Object.assign(new Error(message), { code }), false).isFinal).toBe(isFinal);
});
