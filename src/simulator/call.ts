/**
 * A call that was let in: it takes its time, is booked and answered, or struck by a fault.
 *
 * Booking comes when the answer is made, just before it is sent, and does not ask whether the client is still there:
 * the upstream has done the work. A client that has its answer can rely on finding it booked.
 */
import type { CountedCall } from './account.ts';
import { bookCall, countedCall, envelopeOf } from './booking.ts';
import { completionBody, type CompletionPlan, type Envelope } from './completion.ts';
import { deliverFault, type IntendedAnswer } from './fault-delivery.ts';
import { arrivesWhole, isBilled, type Fault } from './faults.ts';
import type { Key } from './keyring.ts';
import { sampleLatencyMs } from './latency.ts';
import { send, type Exchange } from './respond.ts';
import { streamOf, type StreamedAnswer } from './stream.ts';
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

  /** `windowTokens`: as the limit counts them. */
  constructor(world: World, exchange: Exchange, key: Key, plan: CompletionPlan, windowTokens: number, nowMs: number) {
    this.#world = world;
    this.#exchange = exchange;
    this.#key = key;
    this.#plan = plan;
    this.#arrivedAtMs = nowMs;
    this.#counted = countedCall(key, plan, windowTokens);
    key.inFlight += 1;
    key.inFlightNanoUsd += this.#counted.costNanoUsd;
    world.account.admitted(this.#counted, nowMs);
  }

  run(fault: Fault | null): void {
    const { response } = this.#exchange;
    this.#fault = fault;
    if (fault) this.#world.account.struck(fault.kind);
    if (response.destroyed) this.#partDone();
    else response.once('close', () => this.#partDone());
    const latencyMs = sampleLatencyMs(this.#world.latencyMs, this.#world.random);
    const atOnce = fault !== null || !this.#plan.request.stream || this.#world.scenario.buffered || latencyMs === 0;
    if (!atOnce) this.#streamOver(latencyMs);
    else this.#world.timers.after(latencyMs, () => this.#finish(fault));
  }

  #finish(fault: Fault | null): void {
    const billed = !fault || isBilled(fault);
    this.#record(billed, fault?.status ?? (billed ? 200 : 502));
    if (fault) {
      const { timers, scenario } = this.#world;
      const status = deliverFault(fault, this.#exchange, timers, scenario.dialect, () => this.#answer());
      if (status !== null) this.#world.account.sent(this.#key.name, status);
    } else {
      const { body, contentType } = this.#answer();
      this.#countAnswer();
      send(this.#exchange, 200, body, contentType, this.#headers());
    }
    this.#partDone();
  }

  /** Frames at even distances. The last chunks, with the usage and the end, leave together once the call is booked. */
  #streamOver(latencyMs: number): void {
    const { response } = this.#exchange;
    const { frames, ending } = this.#stream();
    const stepMs = latencyMs / (frames.length + 1);
    let at = 0;
    const next = (): void => {
      const isLast = at === frames.length;
      if (isLast) this.#record(true, 200);
      if (!response.destroyed) {
        if (!response.headersSent) {
          this.#countAnswer();
          response.writeHead(200, {
            'content-type': eventStream,
            'cache-control': 'no-cache',
            ...this.#headers(),
          });
        }
        response.write(isLast ? ending : frames[at]!);
        if (isLast) response.end();
      }
      at += 1;
      if (isLast) this.#partDone();
      else this.#world.timers.after(stepMs, next);
    };
    this.#world.timers.after(stepMs, next);
  }

  #answer(): IntendedAnswer {
    const headers = this.#headers();
    if (!this.#plan.request.stream) {
      const body = completionBody(this.#plan, this.#envelope());
      return { contentType: 'application/json', body, stream: null, headers };
    }
    const stream = this.#stream();
    return { contentType: eventStream, body: stream.frames.join('') + stream.ending, stream, headers };
  }

  #stream(): StreamedAnswer {
    return streamOf(this.#plan, this.#envelope(), this.#world.scenario.dialect);
  }

  #envelope(): Envelope {
    return envelopeOf(this.#world, this.#exchange.id, this.#arrivedAtMs);
  }

  #headers(): Record<string, string> | undefined {
    const { dialect } = this.#world.scenario;
    return dialect.answerHeaders?.(this.#key, this.#plan.costNanoUsd, this.#world.now());
  }

  #record(billed: boolean, statusCode: number): void {
    const latencyMs = this.#world.now() - this.#arrivedAtMs;
    bookCall(this.#world, this.#key, this.#counted, { id: this.#exchange.id, billed, statusCode, latencyMs });
  }

  #countAnswer(): void {
    if (!this.#exchange.response.destroyed) this.#world.account.sent(this.#key.name, 200);
  }

  #partDone(): void {
    this.#partsOpen -= 1;
    if (this.#partsOpen > 0) return;
    const fault = this.#fault;
    this.#key.inFlight -= 1;
    this.#key.inFlightNanoUsd -= this.#counted.costNanoUsd;
    const wholeLeft = this.#exchange.response.writableFinished && (!fault || arrivesWhole(fault));
    const unansweredBecause = wholeLeft ? null : (fault?.kind ?? 'client_gone');
    this.#world.account.ended(this.#counted, { billed: !fault || isBilled(fault), unansweredBecause });
  }
}
