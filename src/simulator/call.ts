/**
 * A call that was let in: it takes its time, is booked and answered, or struck by a fault.
 *
 * Booking comes when the answer is made, just before it is sent, and does not ask whether the client is still there:
 * the upstream has done the work. A client that has its answer can rely on finding it booked.
 */
import type { CountedCall } from './account.ts';
import { completionBody, completionTokensOf, type CompletionPlan, type Envelope } from './completion.ts';
import { deliverFault, type IntendedAnswer } from './fault-delivery.ts';
import { isBilled, type Fault } from './faults.ts';
import { spend, type Key } from './keyring.ts';
import { sampleLatencyMs } from './latency.ts';
import { send, type Exchange } from './respond.ts';
import { framesOf } from './stream.ts';
import type { World } from './world.ts';

const eventStream = 'text/event-stream';

/** It is over when the upstream has done its part *and* the client's connection is done with. */
export class Call {
  readonly #world: World;
  readonly #exchange: Exchange;
  readonly #key: Key;
  readonly #plan: CompletionPlan;
  readonly #counted: CountedCall;
  readonly #arrivedAtMs: number;
  #fault: Fault | null = null;
  #partsOpen = 2;

  constructor(world: World, exchange: Exchange, key: Key, plan: CompletionPlan, nowMs: number) {
    this.#world = world;
    this.#exchange = exchange;
    this.#key = key;
    this.#plan = plan;
    this.#arrivedAtMs = nowMs;
    this.#counted = {
      keyName: key.name,
      modelId: plan.request.model.id,
      inputTokens: plan.request.promptTokens,
      outputTokens: completionTokensOf(plan),
      costNanoUsd: plan.costNanoUsd ?? 0,
      fingerprint: plan.fingerprint,
    };
    world.account.admitted(this.#counted, nowMs);
  }

  run(fault: Fault | null): void {
    const { response } = this.#exchange;
    this.#fault = fault;
    if (fault) this.#world.account.struck(fault.kind);
    if (response.destroyed) this.#partDone();
    else response.once('close', () => this.#partDone());
    const latencyMs = sampleLatencyMs(this.#world.latencyMs, this.#world.random);
    if (!fault && this.#plan.request.stream && latencyMs > 0) this.#streamOver(latencyMs);
    else this.#world.timers.after(latencyMs, () => this.#finish(fault));
  }

  #finish(fault: Fault | null): void {
    const billed = !fault || isBilled(fault);
    this.#record(billed, fault?.status ?? (billed ? 200 : 502));
    if (fault) {
      const status = deliverFault(fault, this.#exchange, this.#world.timers, () => this.#answer());
      if (status !== null) this.#world.account.sent(this.#key.name, status);
    } else {
      const { body, contentType } = this.#answer();
      this.#countAnswer();
      send(this.#exchange, 200, body, contentType);
    }
    this.#partDone();
  }

  /** Frames at even distances. The last two, with the usage and the end, leave together once the call is booked. */
  #streamOver(latencyMs: number): void {
    const { response } = this.#exchange;
    const frames = framesOf(this.#plan, this.#envelope());
    const stepMs = latencyMs / (frames.length - 1);
    let at = 0;
    const next = (): void => {
      const isLast = at >= frames.length - 2;
      if (isLast) this.#record(true, 200);
      if (!response.destroyed) {
        if (!response.headersSent) {
          this.#countAnswer();
          response.writeHead(200, { 'content-type': eventStream, 'cache-control': 'no-cache' });
        }
        response.write(isLast ? frames.slice(at).join('') : frames[at]!);
        if (isLast) response.end();
      }
      at += 1;
      if (isLast) this.#partDone();
      else this.#world.timers.after(stepMs, next);
    };
    this.#world.timers.after(stepMs, next);
  }

  #answer(): IntendedAnswer {
    const envelope = this.#envelope();
    if (!this.#plan.request.stream) {
      return { contentType: 'application/json', body: completionBody(this.#plan, envelope), firstFrame: null };
    }
    const frames = framesOf(this.#plan, envelope);
    return { contentType: eventStream, body: frames.join(''), firstFrame: frames[0]! };
  }

  #envelope(): Envelope {
    const { reportCost } = this.#world.scenario;
    return { id: `chatcmpl-${this.#exchange.id}`, createdAtMs: this.#arrivedAtMs, reportCost };
  }

  #record(billed: boolean, statusCode: number): void {
    const nowMs = this.#world.now();
    const { modelId, inputTokens, outputTokens, costNanoUsd } = this.#counted;
    if (billed) {
      spend(this.#key, costNanoUsd);
      this.#world.account.billed(this.#counted);
    }
    this.#key.usage.add({
      id: this.#exchange.id,
      model: modelId,
      promptTokens: billed ? inputTokens : 0,
      completionTokens: billed ? outputTokens : 0,
      costNanoUsd: billed ? costNanoUsd : 0,
      latencyMs: nowMs - this.#arrivedAtMs,
      statusCode,
      createdAtMs: nowMs,
    });
  }

  #countAnswer(): void {
    if (!this.#exchange.response.destroyed) this.#world.account.sent(this.#key.name, 200);
  }

  #partDone(): void {
    this.#partsOpen -= 1;
    if (this.#partsOpen > 0) return;
    const fault = this.#fault;
    const wholeLeft = this.#exchange.response.writableFinished && (!fault || fault.kind === 'slow_drip');
    const unansweredBecause = wholeLeft ? null : (fault?.kind ?? 'client_gone');
    this.#world.account.ended(this.#counted, { billed: !fault || isBilled(fault), unansweredBecause });
  }
}
