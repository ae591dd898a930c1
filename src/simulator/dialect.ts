/**
 * What differs from provider to provider: paths, how a key is presented, what a request may ask, bodies and headers of
 * answers, refusals and listings. The rest of the simulator says *what* happens; the dialect says it in the provider's
 * words.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Model } from './catalogue.ts';
import type { Fault } from './faults.ts';
import type { Key } from './keyring.ts';
import type { Refusal, RefusalContext, RefusalReason, Reply } from './refusal.ts';
import type { ReasoningEffort } from './request.ts';
import type { UsageEntry } from './usage-log.ts';

export const providers = ['privatemind', 'curate-me', 'openai'] as const;
export type Provider = (typeof providers)[number];

export type Route = { to: 'completions' | 'models' | 'usage' | 'identity' } | { to: 'approval'; approvalId: string };

export type Presented = { token: string; hasUpstreamKey?: boolean } | { refusal: Refusal } | { anonymous: true };

/** What requests may hold. */
export type RequestRules = {
  /** Parameters that every model takes, whatever its entry says. */
  accepts: ReadonlySet<string>;
  /** Refuses empty messages, and an assistant who begins. */
  strictMessages: boolean;
  efforts: ReadonlyMap<unknown, ReasoningEffort>;
};

export type Dialect = {
  readonly provider: Provider;
  /** `target` is `GET /path`. */
  routeOf(target: string): Route | undefined;
  /** The token a request carries, whether or not it is any good. */
  presented(headers: IncomingHttpHeaders): Presented;
  /** Whether a completion needs the upstream provider's own key beside ours. */
  readonly requireUpstreamKey: boolean;
  /** Whether prompts are looked into, and may be refused or held for what they say. */
  readonly governs: boolean;
  readonly rules: RequestRules;
  /** Whether models have second names. */
  readonly hasAliases: boolean;
  /** Whether a stranger may list the models. */
  readonly openListing: boolean;
  /** Whether the organisation's budget starts anew at 00:00 UTC. */
  readonly dailyBudgets: boolean;
  /** Whether `usage` rides on a stream's finish chunk, always; else it comes, when asked, in a chunk without choices. */
  readonly usageOnFinishChunk: boolean;
  /** Whether `usage` carries `cost_usd`. */
  readonly costInUsage: boolean;
  /** A comment that keeps a stream's connection awake, sent before its first frame; or nothing. */
  readonly streamComment: string;
  /** Whether this provider ever refuses for this reason. */
  knows(reason: RefusalReason): boolean;
  refuse(refusal: Refusal, context: RefusalContext): Reply;
  /** The body of a scripted fault that brings none of its own; of status 200 where an answer fails half-way. */
  faultBody(fault: Fault, told: { status: number; message: string; requestId: string }): object;
  /** Headers of a completion's answer. Null: none, ever. */
  readonly answerHeaders: ((key: Key, costNanoUsd: number | null, nowMs: number) => Record<string, string>) | null;
  listing(models: readonly Model[], options: { withCost: boolean }): object;
  readonly usagePage?: (entries: readonly UsageEntry[]) => object;
  /** Who the caller is. */
  readonly identity?: (key: Key) => object;
  readonly requestIdHeader: string;
  readonly requestIdPrefix: string;
  /** A well-formed token, the same for the same seed and name. */
  createToken(seed: number, name: string): string;
  /** The environment variables that point a client here. */
  environment(baseUrl: string, tokens: readonly string[]): Record<string, string>;
};
