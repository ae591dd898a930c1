/**
 * Who asks on after being told that a budget is spent: per key, team and organisation, the calls that arrived after
 * the telling. A key's session counts with the key, an organisation's plan with the organisation.
 */
import type { PurseKind } from './purse.ts';

export type CapKind = PurseKind | 'plan';
export type CapScope = 'key' | 'team' | 'org';

const scopes: Record<CapKind, CapScope> = { key: 'key', session: 'key', team: 'team', org: 'org', plan: 'org' };

export type Cap = { told: Set<CapKind>; callsAfter: number };

export class Caps {
  readonly #caps = new Map<string, Cap>();

  /** The one of that name, made at the first asking. */
  of(scope: CapScope, name: string): Cap {
    const id = `${scope} ${name}`;
    let cap = this.#caps.get(id);
    if (!cap) this.#caps.set(id, (cap = { told: new Set(), callsAfter: 0 }));
    return cap;
  }

  told(kind: CapKind, name: string): void {
    this.of(scopes[kind], name).told.add(kind);
  }

  /** The budget is raised, or its day has begun: the count starts anew. */
  lifted(kind: CapKind, name: string): void {
    const cap = this.of(scopes[kind], name);
    cap.told.delete(kind);
    cap.callsAfter = 0;
  }
}

export function countArrival(caps: readonly Cap[]): void {
  for (const cap of caps) if (cap.told.size > 0) cap.callsAfter += 1;
}
