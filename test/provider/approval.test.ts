import { expect, test } from 'vitest';
import type { Answer } from '../../src/provider/answer.ts';
import { approvalIdOf, readApproval } from '../../src/provider/approval.ts';

const answer = (status: number, body: unknown): Answer => ({
  tag: 'http',
  status,
  headers: {},
  body: typeof body === 'string' ? body : JSON.stringify(body),
  durationMs: 1,
});
const completion = { id: 'c', choices: [{ message: { content: 'Hi' } }] };

test('the approval\u2019s id is in the body, or in the header', () => {
  expect(approvalIdOf({ approval_id: 'a1' }, { 'x-cm-approval-id': 'a2' })).toBe('a1');
  expect(approvalIdOf({}, { 'x-cm-approval-id': 'a2' })).toBe('a2');
  expect(approvalIdOf(undefined, {})).toBeNull();
});

test.each([
  ['waiting', answer(200, { status: 'pending' }), { tag: 'pending' }],
  ['in words nobody documented', answer(200, { state: 'queued_for_review' }), { tag: 'pending' }],
  ['waiting to be approved', answer(200, { status: 'pending_approval' }), { tag: 'pending' }],
  ['not approved so far', answer(200, { status: 'not_approved' }), { tag: 'pending' }],
  ['incomplete', answer(200, { state: 'incomplete' }), { tag: 'pending' }],
  ['about to expire', answer(200, { status: 'expires_soon' }), { tag: 'pending' }],
  ['approved in capitals', answer(200, { status: 'APPROVED' }), { tag: 'approved' }],
  ['without a word', answer(200, {}), { tag: 'pending' }],
  ['refused', answer(200, { status: 'rejected', reason: 'too dear' }), { tag: 'refused', message: 'too dear' }],
  ['denied by a decision', answer(200, { status: 'done', decision: 'denied' }), { tag: 'refused', message: 'denied' }],
  ['expired', answer(200, { status: 'expired' }), { tag: 'refused', message: 'expired' }],
  ['approved without the completion', answer(200, { status: 'approved' }), { tag: 'approved' }],
  ['the completion itself', answer(200, completion), { tag: 'answered', body: JSON.stringify(completion) }],
  [
    'the completion inside',
    answer(200, { status: 'approved', response: { body: completion } }),
    { tag: 'answered', body: JSON.stringify(completion) },
  ],
  ['an outage', answer(503, { error: { message: 'x' } }), null],
  ['a page', answer(200, '<html>'), null],
  ['no answer', { tag: 'failure', code: 'timeout', message: '', durationMs: 1 } satisfies Answer, null],
])('the status of an approval: %s', (_, given, read) => {
  expect(readApproval(given)).toEqual(read);
});
