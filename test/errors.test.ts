import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { AppError, messageOf, systemErrorCode, type AppErrorCode } from '../src/errors.ts';

test.each<[AppErrorCode, number]>([
  ['usage', 2],
  ['config', 2],
  ['input', 2],
  ['budget', 3],
  ['credentials', 4],
  ['provider', 5],
  ['redis', 5],
  ['disk', 5],
  ['interrupted', 130],
])('an error of %s ends the command with %i', (code, exitCode) => {
  const cause = new Error('below');
  const error = new AppError(code, 'expected this, came that', { cause });
  expect(error).toMatchObject({ name: 'AppError', code, exitCode, message: 'expected this, came that', cause });
});

test('a failed system call has its errno name, anything else has none', () => {
  const failed = (() => {
    try {
      return readFileSync('/nonexistent/file');
    } catch (error) {
      return error;
    }
  })();
  expect(systemErrorCode(failed)).toBe('ENOENT');
  expect(systemErrorCode(new Error('plain'))).toBeUndefined();
  expect(systemErrorCode(Object.assign(new Error('numbered'), { code: 5 }))).toBeUndefined();
  expect(systemErrorCode({ code: 'ENOENT' })).toBeUndefined();
  expect(systemErrorCode(null)).toBeUndefined();
});

test('whatever was thrown has a message', () => {
  expect(messageOf(new Error('why'))).toBe('why');
  expect(messageOf('why')).toBe('why');
  expect(messageOf(undefined)).toBe('undefined');
});
