/**
 * Micro-batches: items that are asked for while a call is on its way to Redis travel together in the next one. One
 * call at a time; under load the batches grow by themselves, without load an item waits for nobody.
 */

export type Batcher<Item, Reply> = (item: Item) => Promise<Reply>;

type Waiting<Item, Reply> = { item: Item; resolve: (reply: Reply) => void; reject: (error: unknown) => void };

/** `run` gets 1…`maxItems` items and returns as many replies in the same order. An error of `run` rejects them all. */
export function createBatcher<Item, Reply>(
  maxItems: number,
  run: (items: Item[]) => Promise<Reply[]>,
): Batcher<Item, Reply> {
  let waiting: Waiting<Item, Reply>[] = [];
  let busy = false;

  async function drain(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting.slice(0, maxItems);
      waiting = waiting.slice(maxItems);
      try {
        const replies = await run(batch.map(({ item }) => item));
        for (const [index, { resolve }] of batch.entries()) resolve(replies[index] as Reply);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    busy = false;
  }

  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject });
      if (busy) return;
      busy = true;
      // Whatever is asked in the same turn of the event loop goes along.
      setImmediate(() => void drain());
    });
}
