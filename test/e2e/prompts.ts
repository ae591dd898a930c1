/** Input files for end-to-end tests: requests of several lengths, the same every time, each with an id of its own. */
import { writeFileSync } from 'node:fs';
import type { World } from './support.ts';

export type InputOptions = {
  count: number;
  name?: string;
  model?: (index: number) => string;
};

/** Requests of several lengths. Returns their ids. */
export function writeInput(world: World, { count, name = 'in.jsonl', model }: InputOptions): string[] {
  const { ids, text } = makeInput(count, model);
  writeFileSync(world.file(name), text);
  return ids;
}

const words = 'a night train carries letters over quiet rivers while the signalman counts its lamps'.split(' ');

export function makeInput(count: number, model: (index: number) => string = () => 'fast') {
  const ids: string[] = [];
  let text = '';
  for (let index = 0; index < count; index += 1) {
    const id = `line-${String(index).padStart(5, '0')}`;
    ids.push(id);
    const about = Array.from({ length: 3 + ((index * 7) % 25) }, (_, at) => words[(index + at) % words.length]);
    const messages = [{ role: 'user', content: `Question ${index}: ${about.join(' ')}?` }];
    const body = { model: model(index), messages, max_tokens: 40 };
    text += `${JSON.stringify({ custom_id: id, method: 'POST', url: '/v1/chat/completions', body })}\n`;
  }
  return { ids, text };
}
