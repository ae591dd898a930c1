/** The JSON Schema of `nightshift.config.json`, made from the schema that validates it (src/config.ts). */
import { z } from 'zod';
import { configSchema } from '../src/config.ts';

export function configJsonSchema() {
  const { $schema, ...schema } = z.toJSONSchema(configSchema, { io: 'input' });
  return { $schema, title: 'nightshift.config.json', ...schema };
}
